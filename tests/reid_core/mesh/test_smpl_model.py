import sys
from pathlib import Path

import pytest
import torch

from reid_core.errors import UserError
from reid_core.mesh.smpl_model import check_smpl_model, load_smpl
from tests.reid_core.mesh.fake_smpl import PELVIS_HEIGHT, fake_smpl, write_pickle


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pickle(tmp_path_factory.mktemp("smpl") / "model.pkl")


def test_the_package_poses_the_file(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_smpl.cache_clear()
    model = load_smpl(model_path)
    assert model.faces.shape == (2 * 105 * 65, 3)
    unturned = torch.eye(3).repeat(2, 24, 1, 1)
    unturned[1, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # upside down, as cameras have it
    bodies = model.pose(unturned, torch.zeros(2, 10))
    template = torch.from_numpy(fake_smpl()["v_template"]).float()
    torch.testing.assert_close(bodies.vertices[0], template, atol=1e-4, rtol=0)
    assert float(bodies.pelvis[0, 1]) == pytest.approx(PELVIS_HEIGHT, abs=0.03)
    torch.testing.assert_close(bodies.vertices[1, :, 0], template[:, 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(
        bodies.vertices[1, :, 1] - bodies.pelvis[1, 1], -(template[:, 1] - bodies.pelvis[0, 1]), atol=1e-4, rtol=0
    )
    assert not capsys.readouterr().out


def test_shape_counts_and_surplus_coefficients_do_not(model_path: Path) -> None:
    model, unturned = load_smpl(model_path), torch.eye(3).repeat(1, 24, 1, 1)
    ten = torch.ones(1, 10)
    many = torch.cat([ten, torch.full((1, 290), 9.0)], dim=1)
    assert torch.equal(model.pose(unturned, ten).vertices, model.pose(unturned, many).vertices)
    assert not torch.equal(model.pose(unturned, ten).vertices, model.pose(unturned, 0 * ten).vertices)


def test_without_the_package_the_sentence_says_what_to_install(
    model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_smpl_model(model_path)
    monkeypatch.setitem(sys.modules, "smplx", None)
    with pytest.raises(UserError, match=r"smplx, which is not installed; pip install 'genvar\[smpl\]'"):
        check_smpl_model(model_path)
