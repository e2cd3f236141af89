from pathlib import Path

import numpy as np
from PIL import Image

from reid_core.mesh.sources import EstimateSource, NoSource

SIZE = (32, 16)


def test_no_source_knows_nobody() -> None:
    bodies, maps = NoSource()([Path("a.jpg"), Path("b.jpg")], size=SIZE, num_threads=1)
    assert bodies.status == ("no_mesh", "no_mesh")
    assert maps.shape == (2, 8, 32, 16)


def test_whatever_a_file_holds_it_gets_a_status(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    for name, mode in (("cmyk.jpg", "CMYK"), ("transparent.png", "RGBA"), ("gray.png", "L")):
        picture.convert(mode).save(tmp_path / name)
    picture.save(tmp_path / "whole.jpg")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    picture.save(tmp_path / "animated.gif", save_all=True, append_images=[picture.rotate(180)])
    Image.new("RGB", (100, 20_000)).save(tmp_path / "tall.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    (tmp_path / "truncated.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:700])
    (tmp_path / "empty.jpg").touch()
    images = [*sorted(tmp_path.iterdir()), tmp_path / "gone.jpg"]
    bodies, maps = EstimateSource("notoes_collapse3pc")(images, size=SIZE, num_threads=1)
    statuses = dict(zip((path.stem for path in images), bodies.status, strict=True))
    for name in ("truncated", "empty", "gone"):
        assert statuses.pop(name) == "unreadable"
    assert set(statuses.values()) <= {"no_person", "low_confidence"}, statuses
    assert not maps.any()


def test_files_that_are_all_broken(tmp_path: Path) -> None:
    bodies, maps = EstimateSource("notoes_collapse3pc")([tmp_path / "gone.jpg"], size=SIZE, num_threads=1)
    assert bodies.status == ("unreadable",)
    assert maps.shape == (1, 8, 32, 16)
