"""What both comparisons of generated people share: the people painted from eight sides, pictures and tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_core.data.images import as_float, as_uint8
from reid_core.evaluation.plots.generated import columns_sheet
from reid_core.mesh.guidance import ANGLES
from reid_core.models.weights import load_generator, load_identity

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Masks = NDArray[np.bool_]
Figures = dict[str, Floats]  # by method: images x angles x measures, nan where nothing was measured

BATCH = 64
STRIPES = 6  # head, shoulders, waist, hips, knees, feet
SHOWN = 4  # people of a picture
# Method of the tables, stage with the generator, stage with the encoder that it paints from.
GENERATORS = (("warm-up", "generator", "identity"), ("joint", "joint", "joint"))


@torch.no_grad()
def paint(folders: Mapping[str, Path], method: str, images: Tensor, maps: Tensor) -> Tensor:
    """Turn people, bytes (N, 3, H, W), to every side of their maps, bytes (N, A, H, W): bytes (N, A, 3, H, W)."""
    [(generating, encoding)] = [(stage, eye) for name, stage, eye in GENERATORS if name == method]
    generator = load_generator(folders[generating] / "generator.safetensors")
    encoder = load_identity(folders[encoding] / "identity.safetensors")
    painted = []
    for pixels, sides in zip(torch.split(images, BATCH), torch.split(maps, BATCH), strict=True):
        parts = generator.appearance(encoder.maps(as_float(pixels)))
        views = [generator(as_float(side)[:, None], parts) for side in sides.unbind(dim=1)]
        painted.append(as_uint8(torch.stack(views, dim=1)))
    return torch.cat(painted)


def last(images: Tensor) -> Bytes:
    """Bytes (..., 3, H, W) as arrays (..., H, W, 3)."""
    array: Bytes = images.movedim(-3, -1).contiguous().numpy()
    return array


def striped(picture: Bytes, mask: Masks, outline: Masks, num_stripes: int) -> Bytes:
    """Paint a person's outline, (H, W), with the mean colours of that person's stripes in a picture, (H, W, 3)."""
    of_row = _stripe_of_row(mask, num_stripes)
    parts = [picture[mask & (of_row == stripe)[:, None]] for stripe in range(num_stripes)]
    colours = np.stack([(part if len(part) else picture[mask]).mean(axis=0).round() for part in parts])
    rows = colours[np.clip(_stripe_of_row(outline, num_stripes), 0, num_stripes - 1)].astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(rows[:, None], picture.shape))


def _stripe_of_row(mask: Masks, num_stripes: int) -> NDArray[np.int64]:
    rows = np.flatnonzero(mask.any(axis=1))
    stripe: NDArray[np.int64] = (np.arange(len(mask)) - rows[0]) * num_stripes // (rows[-1] + 1 - rows[0])
    return stripe


def draw(path: Path, images: Tensor, painted: Bytes, true: Bytes) -> None:
    """Write input, generated sides and, below, the true ones of R people; (R, A, H, W, 3) each."""
    blank = torch.full_like(images, 255)
    first = torch.stack([images, blank], dim=1).flatten(0, 1)
    sides = torch.from_numpy(np.stack([painted, true], axis=1)).flatten(0, 1).permute(1, 0, 4, 2, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [as_float(column) for column in (first, *sides)]
    columns_sheet(columns, ["input", *(str(angle) for angle in ANGLES)]).save(path)


def angle_table(measure: str, found: Sequence[Figures], place: int, digits: int) -> None:
    """Print one measure by method and angle, mean over runs; below, the turns' mean and its spread over runs."""
    print(f"\n| {measure} | {' | '.join(found[0])} |")
    print(f"|---:|{'---:|' * len(found[0])}")
    for side, angle in enumerate(ANGLES):
        rows = [np.concatenate([run[name][:, side, place] for run in found]) for name in found[0]]
        if np.isfinite(rows[0]).any():
            shown = [f"{np.nanmean(row):.{digits}f}" if np.isfinite(row).any() else "" for row in rows]
            print(f"| {angle} | {' | '.join(shown)} |")
    means = [with_spread(turned_means(found, name)[:, place], digits) for name in found[0]]
    print(f"| mean of the turns | {' | '.join(means)} |")


def turned_means(found: Sequence[Figures], name: str) -> Floats:
    """Mean over images and turns of every run: (runs, measures)."""
    return np.stack([np.nanmean(run[name][:, 1:], axis=(0, 1)) for run in found])


def with_spread(values: Floats, digits: int) -> str:
    """Mean and sample standard deviation over runs, the latter where runs differ."""
    spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 and values.std() > 1e-9 else ""
    return f"{values.mean():.{digits}f}{spread}"
