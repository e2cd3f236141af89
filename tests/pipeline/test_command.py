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


def test_the_root_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _resolve(dataset="folder", data_root=Path("crops"))[1].data_root == tmp_path / "crops"


@pytest.mark.parametrize(
    "options",
    [
        {"data_root": Path("/crops")},
        {"overrides": ("data_root=/crops",)},
        {"overrides": ("data.data_root=/crops",)},
        {"data_root": Path("/crops"), "dataset": "synthetic"},
    ],
)
def test_a_root_that_nothing_would_read_is_refused(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATA_ROOT", raising=False)
    with pytest.raises(UserError, match=r"data_root names /crops, but rendered people .* --dataset folder"):
        _resolve(**options)


def test_a_variable_that_lies_about_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DATA_ROOT", "/lies/about")
    assert _resolve(data_root=Path("/lies/about"))[1].data_root is None
    assert "DATA_ROOT=/lies/about is not read" in caplog.text


def test_a_root_in_a_file_with_its_data_set_waits_while_rendered_people_are_tried(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("dataset: msmt17\ndata_root: /msmt\n")
    assert _resolve(config_file=path)[1].data_root == Path("/msmt")
    assert _resolve(config_file=path, dataset="synthetic")[1].data_root is None


@pytest.mark.parametrize("text", ["dataset: folder\ndata_root: /a\n", "data: {dataset: folder, data_root: /a}\n"])
def test_an_option_wins_over_the_file_however_it_is_written_there(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    name, data, _ = _resolve(config_file=path)
    assert (name, data.dataset, data.data_root) == ("tiny", "folder", Path("/a"))
    name, data, _ = _resolve(config_file=path, dataset="Market-1501", data_root=Path("/b"))
    assert (name, data.dataset, data.data_root) == ("paper", "market1501", Path("/b"))
    name, data, _ = _resolve(config_file=path, overrides=("data.dataset=msmt17", "data_root=/c"))
    assert (name, data.dataset, data.data_root) == ("paper", "msmt17", Path("/c"))


def test_two_values_of_one_setting_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset is given twice, as folder and by data.dataset=msmt17"):
        _resolve(dataset="folder", data_root=Path("/a"), overrides=("data.dataset=msmt17",))
    with pytest.raises(UserError, match="seed is given twice, as 3 and by seed=2; give one of them"):
        _resolve(seed=3, overrides=("seed=2",))
    assert _resolve(dataset="MSMT17", overrides=("data.dataset=msmt17",))[1].dataset == "msmt17"
    path = tmp_path / "a.yaml"
    path.write_text("dataset: folder\ndata: {dataset: msmt17}\n")
    with pytest.raises(UserError, match="two different values of dataset, folder and msmt17"):
        _resolve(config_file=path)


def test_options_and_short_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("preset: paper\nseed: 1\ndataset: folder\njoint: {num_epochs: 4}\n")
    name, data, joint = _resolve(config_file=path)
    assert (name, data.dataset, joint.seed, joint.num_epochs) == ("paper", "folder", 1, 4)
    _, _, joint = _resolve(config_file=path, overrides=("seed=2",))
    assert joint.seed == 2
    name, _, joint = _resolve(seed=3, config_file=path, overrides=("joint.num_epochs=5",), preset="tiny")
    assert (name, joint.seed, joint.num_epochs) == ("tiny", 3, 5)


def test_the_data_set_of_an_override_chooses_the_preset() -> None:
    assert _resolve(overrides=("data.dataset=msmt17",))[0] == "paper"


@pytest.mark.parametrize("text", ["seed=-1", "seed=many", "seed=1.5"])
def test_a_seed_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="seed should be a whole number"):
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
