from pathlib import Path

import pytest

from pipeline.stages import STAGES, check_data, contents
from reid_core.errors import UserError
from stages.data import DataConfig


def test_stages_read_only_what_ran_before_them() -> None:
    done: set[str] = set()
    for stage in STAGES:
        assert set(stage.needs) <= done, stage.name
        done.add(stage.name)
    assert [stage.name for stage in STAGES] == [
        "data", "mesh", "identity", "generator", "cluster", "joint", "evaluate", "report",
    ]  # fmt: skip


def test_every_field_says_what_it_is() -> None:
    for stage in STAGES:
        for name, field in stage.config.model_fields.items():
            assert field.description, f"{stage.name}.{name}"


def test_the_content_of_rendered_people_is_their_settings() -> None:
    one, same = DataConfig(), DataConfig(image_height=64, image_width=32)
    other = DataConfig.model_validate({"synthetic": {"seed": 1}})
    digests = [contents({"data": config})["data"]() for config in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        check_data(DataConfig(dataset="folder", data_root=tmp_path / "none"))
