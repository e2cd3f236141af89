"""Generated people against renderings of the same person, pose, clothes, camera and moment from the turned side."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks.generated_sides import (
    GENERATORS,
    SHOWN,
    STRIPES,
    Figures,
    Masks,
    angle_table,
    draw,
    last,
    paint,
    striped,
)
from infra.tracking.store import COMPLETION_MARKER
from reid_core.data.images import load_images
from reid_core.data.manifest import read_manifest
from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.data.synthetic.turned import turned_pictures
from reid_core.errors import UserError
from reid_core.evaluation.image_quality import colour_distance, masked_psnr, masked_ssim, stripe_colours
from reid_core.mesh.body import load_body
from reid_core.mesh.guidance import ANGLES, guidance_maps
from reid_core.mesh.sources import read_truth

RENDERED_NAME = re.compile(r"(\d+)_c\d+s\d+_(\d+)_")


class Truth(NamedTuple):
    """N photographs, their people from A sides as rendered, and what the generator is told of their bodies."""

    images: Tensor  # bytes, (N, 3, H, W)
    maps: Tensor  # bytes, (N, A, H, W)
    pictures: NDArray[np.uint8]  # (N, A, H, W, 3)
    masks: Masks  # (N, A, H, W)


@lru_cache
def read_rendered(data: Path, topology: str, test: bool, num_images: int) -> Truth:
    """Choose photographs, spread over the people, and render every side of their people."""
    manifest = read_manifest(data / "manifest.parquet")
    config = json.loads((data / COMPLETION_MARKER).read_text())["config"]
    if config["dataset"] != "synthetic":
        raise UserError(f"rendered people are wanted, but the run has the data set {config['dataset']}; try oriented")
    settings = SyntheticSettings(**config["synthetic"])
    written = (pq.read_schema(data / "truth.parquet").metadata or {}).get(b"settings", b"").decode()
    if written != settings.digest():
        raise UserError("the people of this run were drawn by another version of the renderer; run the pipeline again")
    paths = [
        manifest.root / path
        for split in (("query", "gallery") if test else ("train",))
        for path in manifest.split(split).table["path"].to_pylist()
    ]
    paths.sort(key=lambda path: path.name)
    paths = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, num_images).astype(int))]
    height, width = manifest.info["image_size"]
    bodies, body = read_truth(data / "truth.parquet", paths), load_body(topology)
    vertices = body.vertices(bodies.phenotypes, bodies.angles_deg)
    maps = guidance_maps(vertices, body, bodies.cameras, size=(height, width))
    marks = [match.groups() for path in paths if (match := RENDERED_NAME.match(path.name))]
    pictures = np.empty((len(paths), len(ANGLES), height, width, 3), dtype=np.uint8)
    masks = np.empty(pictures.shape[:-1], dtype=np.bool_)
    for person in sorted({mark[0] for mark in marks}):
        rows = [row for row, mark in enumerate(marks) if mark[0] == person]
        true = turned_pictures(settings, int(person), [int(marks[row][1]) for row in rows], ANGLES)
        for place, row in enumerate(rows):
            for side in range(len(ANGLES)):
                picture = Image.fromarray(true.pictures[place, side])
                pictures[row, side] = np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))
                cover = Image.fromarray(true.coverage[place, side])
                masks[row, side] = np.asarray(cover.resize((width, height), Image.Resampling.BOX)) > 0.5
    return Truth(load_images(paths, (height, width)), maps, pictures, masks)


def rendered(runs: Sequence[Mapping[str, Path]], *, num_images: int, picture: Path | None) -> None:
    """Print how near generated people come to the true ones, people of the test and of the training.

    Args:
        runs: Stage folders of every run.
        num_images: Photographs of each split.
        picture: PNG of the first run's joint generator to write, or None.
    """
    for test in (True, False):
        found = []
        for folders in runs:
            topology = json.loads((folders["mesh"] / "summary.json").read_text())["topology"] or "notoes_collapse5pc"
            truth = read_rendered(folders["data"], topology, test, num_images)
            painted = {name: last(paint(folders, name, truth.images, truth.maps)) for name, *_ in GENERATORS}
            found.append(_against_truth(truth, painted))
            if test and picture and folders is runs[0]:
                shown = np.linspace(0, len(truth.images) - 1, SHOWN).astype(int)
                draw(picture, truth.images[torch.from_numpy(shown)], painted["joint"][shown], truth.pictures[shown])
        people = "Test people, never seen in training" if test else "Training people"
        print(f"\n{people}: {len(truth.images)} photographs turned to seven sides; {len(runs)} run(s)")
        for place, (measure, digits) in enumerate((("PSNR, dB", 1), ("SSIM", 3), ("colour distance", 1))):
            angle_table(measure, found, place, digits)


def _against_truth(truth: Truth, painted: Mapping[str, NDArray[np.uint8]]) -> Figures:
    photographs, unturned = last(truth.images), truth.masks[:, 0]
    found = {
        name: np.empty((*truth.masks.shape[:2], 3))
        for name in (*painted, "photograph", "stripe colours", "mean colour")
    }
    for row, photo in enumerate(photographs):
        for side, (true, mask) in enumerate(zip(truth.pictures[row], truth.masks[row], strict=True)):
            colours = stripe_colours(true, mask, STRIPES)
            shown = {name: (views[row, side], mask) for name, views in painted.items()}
            shown["photograph"] = (photo, unturned[row])
            shown["stripe colours"] = (striped(photo, unturned[row], mask, STRIPES), mask)
            shown["mean colour"] = (striped(photo, unturned[row], mask, 1), mask)
            for name, (picture, own) in shown.items():
                found[name][row, side] = (
                    masked_psnr(picture, true, mask),
                    masked_ssim(picture, true, mask),
                    colour_distance(stripe_colours(picture, own, STRIPES), colours),
                )
    return found
