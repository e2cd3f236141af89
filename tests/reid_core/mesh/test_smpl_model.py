import os
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reid_core.errors import UserError
from reid_core.mesh.smpl_model import FIELDS, check_smpl_model, load_smpl, read_smpl_file
from tests.reid_core.mesh.fake_smpl import PELVIS_HEIGHT, fake_smpl, write_npz, write_pickle


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


def test_both_forms_hold_the_same(tmp_path: Path) -> None:
    expected = fake_smpl()
    for path in (write_npz(tmp_path / "a.npz"), write_pickle(tmp_path / "a.pkl")):
        arrays = read_smpl_file(path)
        assert set(arrays) == set(FIELDS)
        for name in FIELDS:
            np.testing.assert_array_equal(arrays[name], expected[name])


def test_objects_of_chumpy_are_read_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ch:
        def __init__(self, x: Any) -> None:
            self.x = x

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
        patch.setitem(sys.modules, "chumpy.ch", types.ModuleType("chumpy.ch"))
        sys.modules["chumpy.ch"].Ch = Ch  # type: ignore[attr-defined]
        arrays: dict[str, Any] = fake_smpl()
        arrays["shapedirs"] = Ch(arrays["shapedirs"])
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(arrays, protocol=2))
    np.testing.assert_array_equal(read_smpl_file(tmp_path / "a.pkl")["shapedirs"], fake_smpl()["shapedirs"])


class _Program:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo ran > ran.txt",)


def test_a_program_in_a_pickle_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({**fake_smpl(), "extra": _Program()}))
    with pytest.raises(UserError, match=r"is no SMPL model .it wants to load posix.system"):
        read_smpl_file(tmp_path / "a.pkl")
    assert not (tmp_path / "ran.txt").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"no pickle at all", pickle.dumps([1, 2]), pickle.dumps({"v_template": 1}), write_pickle],
    ids=["empty", "text", "list", "incomplete", "cut"],
)
def test_what_is_no_model_is_refused_in_one_sentence(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "a.pkl"
    if callable(content):
        content(path)
        path.write_bytes(path.read_bytes()[:100_000])
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"a.pkl is no SMPL model.*mesh\.source=estimate") as caught:
        read_smpl_file(path)
    assert "\n" not in str(caught.value)


def test_other_body_models_are_told_apart(tmp_path: Path) -> None:
    arrays = fake_smpl()
    arrays["v_template"] = np.zeros((10475, 3))  # SMPL-X
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="6890 vertices and 24 joints were wanted, 10475 vertices"):
        read_smpl_file(tmp_path / "a.npz")
    with pytest.raises(UserError, match="does not exist"):
        read_smpl_file(tmp_path / "nowhere.pkl")
