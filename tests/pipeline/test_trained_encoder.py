from pathlib import Path

import pytest

from infra.home import Home
from pipeline.trained_encoder import find_encoder
from reid_core.errors import UserError
from reid_core.models.generator import Generator
from reid_core.models.weights import network_header, save_weights
from tests.pipeline.encoders import SIZE, finish_pipeline, write_encoder


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_a_file_and_a_folder(tmp_path: Path) -> None:
    weights = write_encoder(tmp_path / "run" / "artifacts" / "identity.safetensors")
    for named in (weights, weights.parent, tmp_path / "run"):
        found = find_encoder(str(named), Home(tmp_path))
        assert (found.weights, found.image_size, found.title) == (weights, SIZE, str(named))
    other = write_encoder(tmp_path / "other.safetensors", seed=1)
    assert find_encoder(str(other), Home(tmp_path)).digest != found.digest


def test_runs_by_id_by_name_and_the_newest(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    first = finish_pipeline(home, "people tiny seed 0", {"identity": 0, "joint": 1}, tmp_path)
    second = finish_pipeline(home, "people tiny seed 1", {"identity": 0}, tmp_path)
    newest = find_encoder(None, home)
    assert newest.title == f"joint run {first['joint'][:8]} of people tiny seed 0"
    for named in (first["joint"], first["joint"][:8], first["pipeline"], "people tiny seed 0"):
        assert find_encoder(named, home).digest == newest.digest
    for named in (first["identity"], second["pipeline"], "people tiny seed 1"):
        found = find_encoder(named, home)
        assert found.digest != newest.digest
        assert found.title.startswith("identity run")
    with pytest.raises(UserError, match='no finished pipeline is called "nobody"'):
        find_encoder("nobody", home)


def test_what_holds_no_encoder_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with pytest.raises(UserError, match="there are no runs in"):
        find_encoder(None, home)
    with pytest.raises(UserError, match=r"gone\.safetensors, which does not exist"):
        find_encoder(str(tmp_path / "gone.safetensors"), home)
    with pytest.raises(UserError, match=r"holds no identity\.safetensors"):
        find_encoder(str(tmp_path), home)
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(UserError, match="is a text, not weights"):
        find_encoder(str(tmp_path / "text.safetensors"), home)
    generator = Generator(8, part_dim=16, num_blocks=1, norm="none")
    save_weights(generator, tmp_path / "generator.safetensors", network_header(generator, SIZE))
    with pytest.raises(UserError, match="holds a generator network, wanted an identity encoder"):
        find_encoder(str(tmp_path / "generator.safetensors"), home)


def test_a_home_whose_pipelines_trained_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    ids = finish_pipeline(home, "people tiny", {"mesh": 0}, tmp_path)
    with pytest.raises(UserError, match="no joint training has finished"):
        find_encoder(None, home)
    with pytest.raises(UserError, match="trained no encoder"):
        find_encoder(ids["mesh"], home)
