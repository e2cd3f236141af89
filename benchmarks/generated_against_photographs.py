"""Generated people against real photographs of the same person by the same camera, from the side that was asked for."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.generated_sides import (
    BATCH,
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
    with_spread,
)
from reid_core.data.images import as_float, as_uint8, load_images
from reid_core.data.manifest import Manifest, read_manifest
from reid_core.errors import UserError
from reid_core.evaluation.embed import embed
from reid_core.evaluation.image_quality import colour_distance, stripe_colours
from reid_core.evaluation.ranking import Ranking, Side, evaluate_ranking
from reid_core.mesh.cache import open_mesh_cache
from reid_core.mesh.guidance import ANGLES
from reid_core.models.identity import LITE, IdentityEncoder
from reid_core.models.weights import load_pretrained

ORIENTED_NAME = re.compile(r"\d+_c\d+s\d+_0*([1-8])_")
# ImageNet's networks see little in 64 rows: every picture is enlarged alike before it is embedded.
EMBEDDED_SIZE = (128, 64)


class Oriented(NamedTuple):
    """N real photographs of people from known sides."""

    images: Tensor  # bytes, (N, 3, H, W)
    maps: Tensor  # bytes, (N, A, H, W)
    masks: Masks  # the persons seen, (N, H, W)
    people: NDArray[np.int64]
    cameras: NDArray[np.int64]
    sides: NDArray[np.int64]  # 0 to 7

    def turn(self, source: int, target: int) -> int:
        """Which of ``ANGLES`` takes one photograph's person to the side of another."""
        return int(self.sides[target] - self.sides[source]) % len(ANGLES)

    def targets(self, source: int, *, stranger: bool = False) -> Iterator[int]:
        """Photographs of the same person (or of the next one) by the same camera, from the other sides."""
        people = np.unique(self.people)
        step = 1 if stranger else 0
        person = people[(int(np.searchsorted(people, self.people[source])) + step) % len(people)]
        same = (self.people == person) & (self.cameras == self.cameras[source]) & (self.sides != self.sides[source])
        return iter(np.flatnonzero(same).tolist())


@lru_cache
def read_oriented(data: Path, mesh: Path) -> Oriented:
    """Read the training images that have a body and a known side."""
    manifest: Manifest = read_manifest(data / "manifest.parquet")
    cache, table = open_mesh_cache(mesh / "mesh_cache"), manifest.split("train").table
    names = table["image_id"].to_pylist()
    matches = [ORIENTED_NAME.match(Path(path).name) for path in table["path"].to_pylist()]
    if not all(matches) or table["person_id"].null_count or table["camera_id"].null_count:
        raise UserError("pictures named PPPP_cCs1_00000O_NN.jpg, O from 1 to 8, are wanted; try rendered for others")
    masks = cache.masks(names).numpy() > 127
    rows = np.flatnonzero(cache.available(names).numpy() & masks.any(axis=(1, 2)))
    if not len(rows):
        raise UserError("no image has a body and a mask; run the pipeline with mesh.source=estimate")
    height, width = manifest.info["image_size"]
    paths = [manifest.root / path for path in table["path"].to_pylist()]
    return Oriented(
        images=load_images([paths[row] for row in rows], (height, width)),
        maps=cache.guidance([names[row] for row in rows], ANGLES),
        masks=masks[rows],
        people=table["person_id"].to_numpy().astype(np.int64)[rows],
        cameras=table["camera_id"].to_numpy().astype(np.int64)[rows],
        sides=np.array([int(match[1]) - 1 for match in matches if match])[rows],
    )


def oriented(runs: Sequence[Mapping[str, Path]], *, picture: Path | None) -> None:
    """Print how near generated people come to photographs from that side, in colour and to an untrained encoder.

    Args:
        runs: Stage folders of every run.
        picture: PNG of the first run's joint generator to write, or None.
    """
    encoder = IdentityEncoder(LITE)
    load_pretrained(encoder, "offline")
    colours, ranks = [], []
    for folders in runs:
        real = read_oriented(folders["data"], folders["mesh"])
        painted = {name: paint(folders, name, real.images, real.maps) for name, *_ in GENERATORS}
        colours.append(_colour_distances(real, {name: last(views) for name, views in painted.items()}))
        ranks.append(_ranks(real, painted, encoder))
        if picture and folders is runs[0]:
            _draw_oriented(picture, real, last(painted["joint"]))
    num_people, pairs = len(np.unique(real.people)), sum(len(list(real.targets(i))) for i in range(len(real.images)))
    print(f"\n{len(real.images)} photographs of {num_people} people, {pairs} pairs of sides, {len(runs)} run(s)\n")
    angle_table("colour distance", colours, 0, 1)
    print(f"\n| query | {' | '.join(f'{name}: rank-1 | mAP' for name in ranks[0]['photograph'])} |")
    print(f"|---|{'---:|---:|' * len(ranks[0]['photograph'])}")
    for query in ranks[0]:
        values = np.array([[figure for pair in run[query].values() for figure in pair] for run in ranks])
        print(f"| {query} | {' | '.join(with_spread(values[:, column], 1) for column in range(values.shape[1]))} |")


def _colour_distances(real: Oriented, painted: Mapping[str, NDArray[np.uint8]]) -> Figures:
    """Mean distance of every photograph's people from the photographs they should look like: (N, A, 1), nan without."""
    photographs, maps = last(real.images), real.maps.numpy() > 0
    own = [stripe_colours(photo, mask, STRIPES) for photo, mask in zip(photographs, real.masks, strict=True)]
    names = (*painted, "photograph", "mean colour", "another person")
    found = {name: np.full((len(own), len(ANGLES), 1), np.nan) for name in names}
    for source, photo in enumerate(photographs):
        for target in (source, *real.targets(source)):
            turn = real.turn(source, target)
            for name, views in painted.items():
                seen = stripe_colours(views[source, turn], maps[source, turn], STRIPES)
                found[name][source, turn] = colour_distance(seen, own[target])
            flat = striped(photo, real.masks[source], real.masks[target], 1)
            painted_flat = stripe_colours(flat, real.masks[target], STRIPES)
            found["photograph"][source, turn] = colour_distance(own[source], own[target])
            found["mean colour"][source, turn] = colour_distance(painted_flat, own[target])
        for target in real.targets(source, stranger=True):
            found["another person"][source, real.turn(source, target)] = colour_distance(own[source], own[target])
    return found


def _ranks(
    real: Oriented, painted: Mapping[str, Tensor], encoder: IdentityEncoder
) -> dict[str, dict[str, tuple[float, float]]]:
    """Rank-1 and mAP in percent, by kind of query and by gallery."""
    photographs = _embedded(encoder, real.images)  # (N, D)
    queries = {"photograph": photographs[:, None].expand(-1, len(ANGLES), -1)}
    for name, views in painted.items():
        features = _embedded(encoder, views.flatten(0, 1)).reshape(*views.shape[:2], -1)  # (N, A, D)
        everything = torch.nn.functional.normalize(photographs + features[:, 1:].sum(dim=1), dim=1)
        queries[f"{name}, unturned"] = features[:, :1].expand(-1, len(ANGLES), -1)
        queries[f"{name}, turned"] = features
        queries[f"photograph and seven turns, {name}"] = everything[:, None].expand(-1, len(ANGLES), -1)
    return {name: _in_galleries(real, features, photographs) for name, features in queries.items()}


def _in_galleries(real: Oriented, queries: Tensor, photographs: Tensor) -> dict[str, tuple[float, float]]:
    people, cameras = torch.from_numpy(real.people), torch.from_numpy(real.cameras)
    pairs = [(source, target) for source in range(len(people)) for target in real.targets(source)]
    sources = torch.tensor([source for source, _ in pairs])
    turns = torch.tensor([real.turn(*pair) for pair in pairs])
    features, owners = queries[sources, turns], people[sources]
    # A photograph's own number in place of its camera leaves out, for each query, what the query was made from.
    itself = torch.arange(len(people))
    galleries = {
        "other camera": evaluate_ranking(
            Side(features, owners, cameras[sources]), Side(photographs, people, cameras), ranks=(1,)
        ),
        "both cameras": evaluate_ranking(
            Side(features, owners, itself[sources]), Side(photographs, people, itself), ranks=(1,)
        ),
    }
    # One gallery a camera and side: there each person is seen once, from the side that was asked for.
    wanted = torch.tensor([[real.cameras[target], real.sides[target]] for _, target in pairs])
    parts = []
    for camera, side in np.unique(wanted.numpy(), axis=0):
        asked = (wanted == torch.tensor([camera, side])).all(dim=1)
        shown = torch.from_numpy((real.cameras == camera) & (real.sides == side))
        one, other = torch.zeros_like(owners[asked]), torch.ones_like(people[shown])
        parts.append(
            evaluate_ranking(
                Side(features[asked], owners[asked], one), Side(photographs[shown], people[shown], other), ranks=(1,)
            )
        )
    return {"that side, same camera": _mean(parts), **{name: _mean([found]) for name, found in galleries.items()}}


def _mean(rankings: Sequence[Ranking]) -> tuple[float, float]:
    first = np.concatenate([ranking.first_match for ranking in rankings])
    precision = np.concatenate([ranking.average_precision for ranking in rankings])
    counted = np.isfinite(precision)
    return 100 * float((first[counted] <= 1).mean()), 100 * float(precision[counted].mean())


def _embedded(encoder: IdentityEncoder, images: Tensor) -> Tensor:
    enlarged = [
        as_uint8(torch.nn.functional.interpolate(as_float(part), EMBEDDED_SIZE, mode="bicubic"))
        for part in torch.split(images, 256)
    ]
    return embed(encoder, torch.cat(enlarged), batch_size=BATCH, device="cpu")


def _draw_oriented(path: Path, real: Oriented, painted: NDArray[np.uint8]) -> None:
    """Show the first side of people of whom their camera has all eight."""
    whole = [i for i in range(len(real.images)) if real.sides[i] == 0 and len(list(real.targets(i))) == len(ANGLES) - 1]
    shown = np.array(whole)[np.linspace(0, len(whole) - 1, SHOWN).astype(int)]
    photographs = last(real.images)
    true = np.stack(
        [
            [photographs[i], *(photographs[t] for t in sorted(real.targets(i), key=lambda t: real.turn(i, t)))]
            for i in shown
        ]
    )
    draw(path, real.images[torch.from_numpy(shown)], painted[shown], true)
