"""The line of an epoch in the history: means of the loss terms over all ranks, its updates and its time."""

import resource
import time
from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reid_core.distributed import whole_mean, world
from reid_core.errors import UserError
from reid_core.learning.timer import Timer

# Updates in a row whose gradients are not numbers: a rare one is skipped, but so many do not recover.
MAX_SKIPPED_IN_A_ROW = 10
# Iterations whose numbers stay on the device before they are read together: reading waits for the device.
READ_EVERY = 10


class EpochLog:
    """Means of the loss terms and gradient norms of one epoch.

    Args:
        timer: Of the epoch; the spans it counted go into the row.
        state: What ``state`` returned, when the epoch is continued in the middle.
    """

    def __init__(self, timer: Timer, state: Mapping[str, Any] | None = None) -> None:
        state = state or {}
        self.timer = timer
        self._sums: dict[str, Tensor] = {name: total.clone() for name, total in state.get("sums", {}).items()}
        self._counts: dict[str, int] = dict(state.get("counts", {}))
        self._skipped = int(state.get("skipped", 0))
        self._skipped_in_a_row = 0
        self._unread: list[tuple[tuple[str, ...], Tensor]] = []  # names, and their values with the skipped updates last
        self._newest: dict[str, float] = {}
        self._images = 0
        self._start = time.perf_counter()

    def add(
        self,
        terms: Mapping[str, Tensor],
        num_images: int,
        *,
        norms: Mapping[str, Tensor] | None = None,
        skipped: Tensor | None = None,
    ) -> None:
        """Count one iteration; its numbers are read later, together with those of others.

        Args:
            terms: Loss terms, this rank's shares.
            num_images: Images of the global batch.
            norms: Norm of each network's gradient.
            skipped: Updates of the iteration that were left out; where there is one, its terms do not count.
        """
        self._images += num_images
        named = dict(terms) | {f"gradient_norm/{name}": norm for name, norm in (norms or {}).items()}
        values = [value.detach() for value in named.values()]
        last = torch.zeros_like(values[0]) if skipped is None else skipped.to(values[0].dtype)
        self._unread.append((tuple(named), torch.stack([*values, last])))
        if len(self._unread) == READ_EVERY:
            self._read()

    def newest(self, **names: str) -> dict[str, float]:
        """Return the newest values that have been read, for people: ``newest(contrast="rotation_contrast")``."""
        return {shown: self._newest[name] for shown, name in names.items() if name in self._newest}

    def state(self) -> dict[str, Any]:
        """Return what a continued epoch needs: tensors and numbers."""
        self._read()
        return {"sums": dict(self._sums), "counts": dict(self._counts), "skipped": self._skipped}

    def row(self, epoch: int, **numbers: float) -> dict[str, float]:
        """Return the epoch's line of the history, the same on every rank but for times; called by all of them.

        Args:
            epoch: From 0.
            numbers: Further measurements, such as learning rates.

        Returns:
            ``epoch``, means by term, ``skipped_updates``, ``seconds/*`` by span, ``images_per_second``, ``memory_gb``.
        """
        self._read()
        means = {name: self._mean(name) for name in sorted(self._sums)}
        broken = sorted(name for name, mean in means.items() if not np.isfinite(mean))
        if broken:
            raise UserError(
                f"training diverged in epoch {epoch}: {', '.join(broken)} is not a number; lower the learning rate"
            )
        seconds = max(time.perf_counter() - self._start, 1e-9)
        spans = {f"seconds/{name}": spent for name, spent in sorted(self.timer.seconds().items())}
        return {
            "epoch": epoch,
            **means,
            **numbers,
            "skipped_updates": self._skipped,
            **spans,
            "images_per_second": self._images / seconds,
            "memory_gb": peak_memory_gb(),
        }

    def _read(self) -> None:
        """Add up what is unread, by one copy from the device."""
        if not self._unread:
            return
        numbers = iter(torch.cat([values for _, values in self._unread]).cpu())
        for names, values in self._unread:
            *own, skipped = islice(numbers, len(values))
            self._count(dict(zip(names, own, strict=True)), int(skipped))
        self._unread.clear()

    def _count(self, values: Mapping[str, Tensor], skipped: int) -> None:
        self._skipped += skipped
        self._skipped_in_a_row = self._skipped_in_a_row + 1 if skipped else 0
        if self._skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise UserError(
                f"the gradients of {MAX_SKIPPED_IN_A_ROW} updates in a row were not numbers, training cannot go on; "
                "lower the learning rate (the last good checkpoint is kept: the same command tries again from there)"
            )
        if skipped:
            return
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
            self._counts[name] = self._counts.get(name, 0) + 1
            self._newest[name] = float(value)

    def _mean(self, name: str) -> float:
        mean = self._sums[name] / self._counts[name]
        # A mean of shares over the ranks is the mean over all images; collectives want the device that the ranks share.
        device = torch.device("cuda") if world()[1] > 1 and torch.distributed.get_backend() == "nccl" else mean.device
        return float(whole_mean(mean.reshape(1).to(device)))


def peak_memory_gb() -> float:
    """Return the most memory that was in use so far: of the GPU where one works, else of this process; 10^9 bytes."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
