"""Where bodies come from: each source is a picklable object that makes of a few image files what it knows of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from reid_core.mesh.bodies import Bodies
from reid_core.mesh.extracted import Extracted, put_back, render_bodies, without_bodies
from reid_core.mesh.photograph import open_photograph
from reid_core.mesh.truth import read_truth


class Source(Protocol):
    """Makes of N image files what is known of their bodies; never raises for a single picture."""

    def __call__(self, images: Sequence[Path], *, size: tuple[int, int], num_threads: int) -> Extracted:
        """Extract bodies.

        Args:
            images: N files.
            size: Height and width of the maps.
            num_threads: That the source may use.

        Returns:
            Of N images, in order.
        """
        ...


@dataclass(frozen=True)
class NoSource:
    """Knows of no body."""

    def __call__(self, images: Sequence[Path], *, size: tuple[int, int], num_threads: int) -> Extracted:
        """Return N images without a mesh."""
        return without_bodies(["no_mesh"] * len(images), size)


@dataclass(frozen=True)
class TruthSource:
    """Knows the bodies of rendered people from the truth beside them.

    Attributes:
        path: ``truth.parquet``.
        topology: Body mesh to draw.
        device: That draws, as torch names it.
    """

    path: Path
    topology: str
    device: str = "cpu"

    def __call__(self, images: Sequence[Path], *, size: tuple[int, int], num_threads: int) -> Extracted:
        """Look the images up."""
        return render_bodies(read_truth(self.path, list(images)), self.topology, torch.device(self.device), size)


@dataclass(frozen=True)
class EstimateSource:
    """Finds bodies in photographs.

    Attributes:
        topology: Body mesh to fit and to draw.
        device: That fits and draws, as torch names it.
    """

    topology: str
    device: str = "cpu"

    def __call__(self, images: Sequence[Path], *, size: tuple[int, int], num_threads: int) -> Extracted:
        """Decode the photographs, find the bodies and draw them."""
        from reid_core.mesh.estimate import estimate_bodies  # here, because it loads MediaPipe, which takes seconds

        device = torch.device(self.device)
        pictures = [open_photograph(path) for path in images]
        readable = [picture for picture in pictures if picture is not None]
        known = torch.tensor([picture is not None for picture in pictures], dtype=torch.bool)
        bodies: Bodies
        if readable:
            bodies = estimate_bodies(
                readable, size=size, topology=self.topology, device=device, num_threads=num_threads
            )
            return put_back(render_bodies(bodies, self.topology, device, size), known, "unreadable")
        return without_bodies(["unreadable"] * len(images), size)
