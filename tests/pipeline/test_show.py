from pathlib import Path

import pytest
from rich.console import Console

from infra.compute.local import LocalCompute
from infra.home import Home
from infra.tracking.mlflow import mlflow_client
from infra.tracking.store import RunStore
from pipeline.show import Amounts, show
from reid_core.errors import UserError
from tests.pipeline.finished import finished_people

AMOUNTS = Amounts(num_queries=2, list_length=3, num_people=2, num_clusters=2, num_images_mapped=0)


def test_pictures_go_to_a_folder_and_to_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = Home(tmp_path / "home")
    home.root.mkdir()
    store = RunStore(home, f"sqlite:///{home.database}", "people")
    compute = LocalCompute(num_cpus=1)
    parent = store.start("people tiny", params={}, tags={"kind": "pipeline"}, parent=None)
    for name, folder in finished_people(tmp_path / "stages", compute).items():
        run_id = store.start(name, params={}, tags={"stage": name}, parent=parent)
        store.upload(run_id, folder)
        store.end(run_id, "FINISHED")
    compute.close()
    store.end(parent, "FINISHED")

    show(home, None, None, AMOUNTS, num_cpus=1, console=Console(soft_wrap=True))
    folder = home.root / "pictures" / f"people-tiny-{parent[:8]}"
    drawn = sorted(path.name for path in folder.glob("*.png"))
    assert "generator-grid.png" in drawn
    assert f"{len(drawn)} pictures of people tiny in {folder}" in capsys.readouterr().out
    stored = mlflow_client(store.uri).list_artifacts(parent, "pictures")
    assert sorted(Path(file.path).name for file in stored) == drawn

    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file, wanted a folder"):
        show(home, "people tiny", tmp_path / "file", AMOUNTS, num_cpus=1, console=Console())
    with pytest.raises(UserError, match='no finished pipeline is called "nobody"'):
        show(home, "nobody", None, AMOUNTS, num_cpus=1, console=Console())
