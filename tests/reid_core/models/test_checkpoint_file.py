import argparse
import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from reid_core.errors import UserError
from reid_core.models.checkpoint_file import read_foreign_state
from reid_core.models.weights import load_identity

_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 102530333\n"
_PAGE = b"\n<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>"


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pth"))
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".pth.tar"])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty; download or copy the weights again"),
        (_LFS, "is a Git LFS pointer, not the weights it points to; fetch them with git lfs pull"),
        (_PAGE, "is a web page, not weights; open the address in a browser"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a web page"),
        (b"404: Not Found\n", r"is a text, not weights \(it begins with '404: Not Found'\)"),
        ("Zugriff verweigert: für Gäste gesperrt. ".encode() * 99, "is a text, not weights"),
        ("conv1.weight 0.1".encode("utf-16"), "is a text, not weights"),
        (b'{"metadata": {}, "weight_map": {}}', "is a text, not weights"),
        (gzip.compress(b"weights" * 300), r"is a packed archive \(gzip\), not weights; unpack it"),
        (_tar(), r"is a packed archive \(tar\)"),
    ],
    ids=["empty", "lfs", "page", "xml", "text", "umlauts", "utf16", "json", "gzip", "tar"],
)
def test_what_is_not_weights_is_named(tmp_path: Path, content: bytes, sentence: str, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    for read in (read_foreign_state, load_identity):
        with pytest.raises(UserError, match=sentence) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"\x80", b"\x80\x02}q\x00.", b"PK\x03\x04" + bytes(60), bytes(range(256)) * 9, b"\x80\x02X\xff\xff\xff"]
)
def test_other_content_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.pth (cannot be read as tensors alone|holds).*; "):
        read_foreign_state(path)


def test_any_cut_of_a_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    for legacy in (True, False):
        torch.save({"a": torch.ones(3)}, tmp_path / "whole.pth", _use_new_zipfile_serialization=not legacy)
        content = (tmp_path / "whole.pth").read_bytes()
        for length in range(1, len(content) - 1, 17):
            (tmp_path / "cut.pth").write_bytes(content[:length])
            with pytest.raises(UserError):
                read_foreign_state(tmp_path / "cut.pth")


def test_folders_and_missing_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder; name the file in it"):
        read_foreign_state(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        read_foreign_state(tmp_path / "absent.pth")


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
def test_numbers_of_numpy_and_options_beside_the_weights_are_passed_over(tmp_path: Path, legacy: bool) -> None:
    # As torchreid saves it: rank1 is an entry of an array.
    content = {
        "state_dict": {"conv1.weight": torch.arange(6.0)},
        "epoch": 60,
        "rank1": np.float64(0.874),
        "cmc": np.array([0.87, 0.95], dtype=np.float32),
        "counts": np.array([], dtype=np.int64),
        "name": np.str_("osnet"),
        "args": argparse.Namespace(lr=0.1, seeds=[1, 2], mean=np.float32(1)),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": np.float64(0.1)}]},
    }
    path = tmp_path / "model.pth.tar-60"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    [(name, tensor)] = read_foreign_state(path).items()
    assert (name, tensor.tolist()) == ("conv1.weight", [0, 1, 2, 3, 4, 5])
    # A NumPy of before 2.0 wrote another name of the same length less one.
    if not legacy:
        return
    path.write_bytes(path.read_bytes().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert read_foreign_state(path)["conv1.weight"].tolist() == [0, 1, 2, 3, 4, 5]


def test_other_objects_are_refused_by_name(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(1)}, "best": Path("model")}, tmp_path / "model.pth")
    with pytest.raises(UserError, match=r"holds Python objects \(pathlib\.\w*Path\), which could execute anything"):
        read_foreign_state(tmp_path / "model.pth")


def test_content_tells_the_format_not_the_suffix(tmp_path: Path) -> None:
    state = {"conv1.weight": torch.ones(2)}
    save_file(state, tmp_path / "model.pth")
    torch.save(state, tmp_path / "model.safetensors")
    for name in ("model.pth", "model.safetensors"):
        assert read_foreign_state(tmp_path / name)["conv1.weight"].tolist() == [1, 1]


def test_weights_lie_inside_of_wrappings(tmp_path: Path) -> None:
    torch.save({"model": {"state_dict": {"a": torch.ones(1)}}, "epoch": 1}, tmp_path / "model.pth")
    assert list(read_foreign_state(tmp_path / "model.pth")) == ["a"]
    torch.save({"epoch": 1, "weights_of": {"a": torch.ones(1)}}, tmp_path / "model.pth")
    with pytest.raises(UserError, match=r"holds no tensors, .* \(its keys: epoch, weights_of\)"):
        read_foreign_state(tmp_path / "model.pth")
