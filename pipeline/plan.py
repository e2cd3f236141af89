"""The pipeline: a plain tuple of stages, the checks of its entrance, and the plan of what a run would do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from pipeline.fingerprint import fingerprint
from reid_core.errors import UserError
from stages import data, report
from stages.stage import Prospect, Stage, StageConfig

STAGES: tuple[Stage, ...] = (*report.REPORTED, report.STAGE)


def check(
    configs: Mapping[str, BaseModel],
    *,
    last: str | None = None,
    look: Callable[[data.DataConfig], Prospect] = data.check,
) -> Prospect:
    """Refuse everything that files and configurations show to be impossible, before any work.

    Args:
        configs: Stage name to resolved configuration.
        last: No stage after this one is checked.
        look: Looks at the images; a caller that checks many configurations of the same images remembers it.

    Returns:
        What is known of the images.
    """
    config = configs["data"]
    assert isinstance(config, data.DataConfig)
    prospect = look(config)
    for stage in STAGES:
        if stage.check is not None:
            stage.check(configs, prospect)
        if stage.name == last:
            break
    return prospect


def contents(configs: Mapping[str, BaseModel]) -> dict[str, Callable[[], str | None]]:
    """Return, for the stages that may read from outside of the pipeline, the digest of what they read."""
    return {stage.name: partial(stage.content, configs[stage.name]) for stage in STAGES if stage.content is not None}


def read_by_workers(configs: Mapping[str, BaseModel]) -> list[Path]:
    """Return the folders and files of the configuration that workers open, so that every node must see them."""
    return [path for stage in STAGES if stage.reads is not None for path in stage.reads(configs[stage.name])]


@dataclass(frozen=True)
class Plan:
    """Stages with their configurations and fingerprints.

    Attributes:
        stages: In the order they run.
        configs: Stage name to resolved configuration.
        fingerprints: Stage name to fingerprint.
        again: Names of stages that run even where a finished run could serve.
        deterministic: Whether the deterministic mode is on.
    """

    stages: tuple[Stage, ...]
    configs: Mapping[str, StageConfig]
    fingerprints: Mapping[str, str]
    again: frozenset[str]
    deterministic: bool


def make_plan(
    stages: tuple[Stage, ...],
    configs: Mapping[str, StageConfig],
    contents: Mapping[str, Callable[[], str | None]],
    *,
    first: str | None = None,
    last: str | None = None,
    force: tuple[str, ...] = (),
    deterministic: bool = False,
) -> Plan:
    """Work out what to run.

    Args:
        stages: All of them.
        configs: Stage name to resolved configuration.
        contents: For stages that read from outside of the pipeline: the digest of what they read.
        first: This stage and every later one run again.
        last: No stage after this one runs.
        force: These stages run again, and with them the ones that read them.
        deterministic: Whether the deterministic mode is on.

    Returns:
        The plan; nothing is written.
    """
    names = [stage.name for stage in stages]
    for option, name in (("--from", first), ("--until", last), *(("--force", name) for name in force)):
        if name is not None and name not in names:
            raise UserError(f'{option} wants one of {", ".join(names)}, but got "{name}"')
    if first is not None and last is not None and names.index(first) > names.index(last):
        raise UserError(f"--from {first} comes after --until {last}; swap them")
    chosen = stages[: names.index(last) + 1] if last is not None else stages
    again = set(force) | set(names[names.index(first) :] if first is not None else ())
    prints: dict[str, str] = {}
    for stage in chosen:
        if again & set(stage.needs):
            again.add(stage.name)
        prints[stage.name] = fingerprint(
            stage,
            configs[stage.name],
            {name: prints[name] for name in stage.needs},
            content=contents[stage.name]() if stage.name in contents else None,
            deterministic=deterministic,
        )
    return Plan(chosen, configs, prints, frozenset(again), deterministic)
