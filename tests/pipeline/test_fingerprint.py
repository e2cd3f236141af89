import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.fingerprint import fingerprint, git_commit, package_versions
from stages import data, identity
from stages.data import DataConfig
from stages.identity import IdentityConfig
from stages.training.clustering import ClusterConfig
from stages.training.state import CheckpointConfig
from tests.pipeline.toys import STAGES, LoopConfig, NumbersConfig

_BASE: dict[str, Any] = {"content": "c", "deterministic": False}


def test_equal_facts_have_equal_fingerprints() -> None:
    one = fingerprint(STAGES[2], LoopConfig(), {"numbers": "a", "total": "b"}, **_BASE)
    other = fingerprint(STAGES[2], LoopConfig(), {"total": "b", "numbers": "a"}, **_BASE)
    assert one == other
    assert len(one) == 64


def test_every_fact_counts() -> None:
    inputs = {"total": "b"}
    found = {
        fingerprint(STAGES[2], LoopConfig(), inputs, **_BASE),
        fingerprint(STAGES[2], LoopConfig(num_epochs=4), inputs, **_BASE),
        fingerprint(STAGES[2], LoopConfig(), {"total": "c"}, **_BASE),
        fingerprint(STAGES[2], LoopConfig(), inputs, content="d", deterministic=False),
        fingerprint(STAGES[2], LoopConfig(), inputs, content="c", deterministic=True),
        fingerprint(replace(STAGES[2], version=2), LoopConfig(), inputs, **_BASE),
        fingerprint(replace(STAGES[2], name="other"), LoopConfig(), inputs, **_BASE),
    }
    assert len(found) == 7


def test_how_many_processes_share_the_work_does_not_count() -> None:
    one, eight = (fingerprint(STAGES[0], NumbersConfig(num_workers=count), {}, **_BASE) for count in (1, 8))
    assert one == eight


def test_threads_and_checkpoints_do_not_count() -> None:
    few = IdentityConfig(clustering=ClusterConfig(cpus_per_worker=1), checkpoints=CheckpointConfig(every=3))
    one, other = (fingerprint(identity.STAGE, config, {}, **_BASE) for config in (IdentityConfig(), few))
    assert one == other


def test_where_the_images_lie_does_not_count() -> None:
    configs = [DataConfig(dataset="folder", data_root=Path(place)) for place in ("/here", "/there")]
    one, other = (fingerprint(data.STAGE, config, {}, **_BASE) for config in configs)
    assert one == other


def test_stages_that_are_deterministic_anyway_do_not_run_again() -> None:
    stage = replace(STAGES[0], deterministic=True)
    prints = {fingerprint(stage, NumbersConfig(), {}, content=None, deterministic=mode) for mode in (True, False)}
    assert len(prints) == 1


def test_versions_of_what_results_depend_on() -> None:
    versions = package_versions()
    assert {"python", "genvar", "torch", "ray", "mlflow", "numpy"} <= set(versions)
    assert all(versions.values())


def test_the_commit_of_a_checkout() -> None:
    commit = git_commit()
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", commit)
