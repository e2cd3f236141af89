from pathlib import Path
from typing import Any

import pytest

from pipeline.command import Options, name_of, resolve
from reid_core.errors import UserError
from stages.data import DataConfig
from stages.joint import JointConfig


def _resolve(seed: int | None = None, **options: Any) -> tuple[str, DataConfig, JointConfig]:
    name, configs = resolve(Options(**options), seed)
    data, joint = configs["data"], configs["joint"]
    assert isinstance(data, DataConfig)
    assert isinstance(joint, JointConfig)
    return name, data, joint


def test_rendered_people_are_the_default() -> None:
    name, data, _ = _resolve()
    assert (name, data.dataset, data.data_root) == ("tiny", "synthetic", None)


def test_a_benchmark_is_trained_as_published(tmp_path: Path) -> None:
    name, data, joint = _resolve(dataset="msmt17", data_root=tmp_path)
    assert (name, data.dataset, data.data_root) == ("paper", "msmt17", tmp_path)
    assert joint == JointConfig()


def test_the_root_is_absolute_and_rendered_people_have_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _resolve(dataset="folder", data_root=Path("crops"))[1].data_root == tmp_path / "crops"
    assert _resolve(data_root=Path("crops"))[1].data_root is None


def test_options_win_over_short_overrides_and_those_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("preset: paper\nseed: 1\ndataset: folder\njoint: {num_epochs: 4}\n")
    name, data, joint = _resolve(config_file=path)
    assert (name, data.dataset, joint.seed, joint.num_epochs) == ("paper", "folder", 1, 4)
    _, _, joint = _resolve(config_file=path, overrides=("seed=2",))
    assert joint.seed == 2
    name, _, joint = _resolve(seed=3, config_file=path, overrides=("seed=2", "joint.num_epochs=5"), preset="tiny")
    assert (name, joint.seed, joint.num_epochs) == ("tiny", 3, 5)


def test_the_data_set_of_an_override_chooses_the_preset() -> None:
    assert _resolve(overrides=("data.dataset=msmt17",))[0] == "paper"


@pytest.mark.parametrize("text", ["seed=-1", "seed=many", "seed=1.5"])
def test_a_seed_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="seed should be a whole number"):
        _resolve(overrides=(text,))


@pytest.mark.parametrize("text", ["preset={a: 1}", "preset=[tiny]", "preset=huge"])
def test_a_preset_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--preset wants one of tiny, small, paper"):
        _resolve(overrides=(text,))


def test_an_unknown_data_set_is_refused() -> None:
    with pytest.raises(UserError):
        _resolve(dataset="imagenet")


def test_a_pipeline_is_named_by_what_was_asked_for() -> None:
    assert name_of("msmt17", "paper", None) == "msmt17 paper"
    overrides = ("seed=1", "joint.views=classical")
    assert name_of("synthetic", "tiny", 1, overrides) == "synthetic tiny seed 1 joint.views=classical"
    long = name_of("synthetic", "tiny", 0, ("joint.angles=[" + ",".join(["45"] * 60) + "]",))
    assert (len(long), long[-3:]) == (120, "...")
