from pathlib import Path

import pytest

from infra.checkpoints import latest_checkpoint, save_checkpoint, sweep_checkpoints


def _write(text: str, folder: Path) -> None:
    (folder / "state").write_text(text)


def test_the_newest_two_stay(tmp_path: Path) -> None:
    for epoch in range(4):
        save_checkpoint(tmp_path, f"epoch-{epoch:04d}", lambda d, e=epoch: _write(str(e), d))  # type: ignore[misc]
    latest = latest_checkpoint(tmp_path)
    assert latest is not None
    assert (latest / "state").read_text() == "3"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_write_that_fails_leaves_the_older_one(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "epoch-0000", lambda d: _write("0", d))

    def fail(folder: Path) -> None:
        _write("half", folder)
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        save_checkpoint(tmp_path, "epoch-0001", fail)
    latest = latest_checkpoint(tmp_path)
    assert latest is not None
    assert (latest / "state").read_text() == "0"
    sweep_checkpoints(tmp_path, keep=2)
    assert list(tmp_path.iterdir()) == [latest]


def test_the_same_name_again_replaces(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "epoch-0000", lambda d: _write("first", d))
    path = save_checkpoint(tmp_path, "epoch-0000", lambda d: _write("second", d))
    assert (path / "state").read_text() == "second"


def test_no_checkpoint_yet(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "missing") is None
