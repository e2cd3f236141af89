"""The tiles of ``reid_core.mesh.render`` against PyTorch3D's rasteriser called directly, on the same bodies.

Run: OMP_NUM_THREADS=1 python -m benchmarks.rasteriser
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from pytorch3d.renderer.mesh import rasterize_meshes
from pytorch3d.structures import Meshes
from torch import Tensor

from reid_core.mesh.body import Body, load_body
from reid_core.mesh.camera import Cameras, project
from reid_core.mesh.guidance import ANGLES
from reid_core.mesh.render import NEAR, rasterise

TOPOLOGIES = ("notoes_collapse3pc", "notoes_collapse5pc", "notoes_collapse10pc")
SIZES = ((64, 32), (128, 64), (256, 128))
BODIES = 4


class Row(NamedTuple):
    """One body mesh at one size: milliseconds a view, and how many pixels see another face."""

    topology: str
    faces: int
    height: int
    width: int
    bare_ms: float
    tiles_ms: float
    pixels: int
    pixels_that_differ: int

    @property
    def ratio(self) -> float:
        """Time of the tiles as a multiple of the bare call's."""
        return self.tiles_ms / self.bare_ms


def walking(body: Body, count: int = BODIES) -> Tensor:
    """Eight views of a few bodies, one leg forward: image fractions and depth, shape (8 * count, V, 3)."""
    random = torch.Generator().manual_seed(0)
    vertices = body.vertices(torch.rand(count, 6, generator=random), 20 * torch.randn(count, 10, 3, generator=random))
    values = (0.0, 5.0, 0.9, 0.5, 0.5, 0.5)
    cameras = Cameras(*(torch.full((count,), value) for value in values))
    turned = cameras.turned(torch.tensor(ANGLES).float())
    return project(vertices.repeat_interleave(len(ANGLES), dim=0), turned)


def bare(points: Tensor, faces: Tensor, size: tuple[int, int]) -> Tensor:
    """Face behind every pixel, -1 where there is none, by one call of PyTorch3D: shape (B, H, W)."""
    height, width = size
    # Its axes: x to the left, y up, the shorter side spans [-1, 1].
    half = min(size) / 2
    seen = points.clone()
    seen[..., 0] = (width / 2 - points[..., 0] * width) / half
    seen[..., 1] = (height / 2 - points[..., 1] * height) / half
    seen[..., 2] += NEAR
    meshes = Meshes(verts=seen, faces=faces.expand(len(points), -1, -1))
    found = rasterize_meshes(
        meshes,
        image_size=size,
        blur_radius=0.0,
        faces_per_pixel=1,
        bin_size=0 if points.device.type == "cpu" else None,
        perspective_correct=False,
        cull_backfaces=True,
    )[0][..., 0]
    first = torch.arange(len(points), device=points.device)[:, None, None] * len(faces)
    return torch.where(found >= 0, found - first, found)


def compare(topology: str, size: tuple[int, int]) -> Row:
    """Time both ways of rasterising the same views, and compare what they see."""
    body = load_body(topology)
    points = walking(body)
    wanted = bare(points, body.faces, size)
    seen = rasterise(points, body.faces, size=size).face
    bare_ms, tiles_ms = (
        1000 * seconds / len(points)
        for seconds in (
            _seconds(lambda: bare(points, body.faces, size)),
            _seconds(lambda: rasterise(points, body.faces, size=size)),
        )
    )
    differ = int((wanted != seen).sum())
    return Row(topology, len(body.faces), *size, bare_ms, tiles_ms, wanted.numel(), differ)


def _seconds(call: Callable[[], object]) -> float:
    """Return the shortest of three times."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'body mesh':20} {'faces':>6}  {'picture':>9}  {'bare':>8}  {'tiles':>8}  ratio  pixels that differ")
    for topology in TOPOLOGIES:
        for size in SIZES:
            row = compare(topology, size)
            print(
                f"{row.topology:20} {row.faces:6}  {size[0]:4} x {size[1]:3} {row.bare_ms:6.1f} ms {row.tiles_ms:6.1f} "
                f"ms  {row.ratio:5.2f}  {row.pixels_that_differ} of {row.pixels:,}"
            )


if __name__ == "__main__":
    main()
