# make pipeline   the whole experiment: on people it renders itself, or on DATASET with its images under DATA_ROOT
# make reproduce  the same, compared with the figures that are expected of DATASET
# make test       the tests
# make ablation   which part of the method helps, over several seeds
# make ui         the MLflow page that compares runs
# Every target creates .venv by itself, and reuses it while pyproject.toml and constraints.txt stay the same.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help venv pipeline reproduce tune ui test test-slow lint type format check clean-venv ablation

DATASET ?=
DATA_ROOT ?=
PRESET ?=
SEED ?=
SEEDS ?=
EXECUTOR ?=
SEARCH ?= contrast
TRIALS ?=
ARGS ?=

BIN := .venv/bin
# What is not given is left to the configuration file or to the defaults of the command line.
DATA_OPTIONS := \
	$(if $(DATASET),--dataset "$(DATASET)") \
	$(if $(DATA_ROOT),--data-root "$(DATA_ROOT)") \
	$(if $(PRESET),--preset "$(PRESET)")
EXECUTOR_OPTION := $(if $(EXECUTOR),--executor "$(EXECUTOR)")
PIPELINE_OPTIONS := \
	$(DATA_OPTIONS) \
	$(if $(SEED),--seed "$(SEED)") \
	$(if $(SEEDS),--seeds "$(SEEDS)") \
	$(EXECUTOR_OPTION)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  make pipeline DATASET=NAME DATA_ROOT=FOLDER    names: genvar pipeline --help'
	@echo '                PRESET=tiny|small|paper SEEDS=0,1,2 EXECUTOR=ray|local'
	@echo '                ARGS="joint.num_epochs=3 --from joint --dry-run"   anything that genvar pipeline understands'

venv: ## create .venv, or do nothing when it is up to date
	@bash infra/environment/create_venv.sh

pipeline: venv ## run the whole experiment and print the table of results
	@$(BIN)/genvar pipeline $(PIPELINE_OPTIONS) $(ARGS)

tune: venv ## search settings: SEARCH=contrast|clustering|generator or a YAML file, TRIALS=16
	@$(BIN)/genvar tune $(SEARCH) $(if $(TRIALS),--trials "$(TRIALS)") $(DATA_OPTIONS) $(ARGS)

reproduce: venv ## run a preset and compare it with the expected figures (exit code 1 when they are missed)
	@$(BIN)/genvar reproduce $(PIPELINE_OPTIONS) $(ARGS)

ablation: venv ## compare views and mixes over seeds and write the table to docs/lab/ablation.md (hours on two cores)
	@$(BIN)/python benchmarks/ablation.py --write docs/lab/ablation.md --json ablation.json \
		$(DATA_OPTIONS) $(if $(SEEDS),--seeds "$(SEEDS)") $(EXECUTOR_OPTION) $(ARGS)

ui: venv ## serve the MLflow page that compares runs
	@$(BIN)/genvar ui $(ARGS)

test: venv ## run the tests in two processes (about eight minutes on two cores, no network)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: venv ## run the tests that take minutes each
	@$(BIN)/python -m pytest -m 'slow and not gpu' $(ARGS)

lint: venv ## check the style of the code
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

type: venv ## check the types of code and tests
	@$(BIN)/mypy

format: venv ## rewrite the code in the house style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

check: lint type test ## everything that has to pass before a commit

clean-venv: ## remove .venv
	rm -rf .venv
