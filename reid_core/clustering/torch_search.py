"""Nearest rows by inner product with torch: for GPUs that FAISS was not built for.

The process that imports this must not load FAISS (see ``faiss_search``).

N: images, D: feature size, Q: queries.
"""

import warnings

import numpy as np
import torch
from torch import Tensor

_BLOCK_BYTES = 1 << 30  # of a block of similarities


class TorchSearch:
    """Rows on a device, to be searched block by block.

    Args:
        features: L2-normalised rows (N, D) float32.
        device: Where to search; a GPU when there is one, when None.
    """

    def __init__(self, features: np.ndarray, device: torch.device | None = None) -> None:
        self._device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._rows = self._tensor(features)

    def nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Search exactly.

        Args:
            queries: Rows (Q, D) float32.
            k: Rows to find, at most N.

        Returns:
            Similarities (Q, k) float32, falling, and rows (Q, k) int64.
        """
        asked = self._tensor(queries)
        width = max(k, _BLOCK_BYTES // (4 * len(queries)))
        best: tuple[Tensor, Tensor] | None = None
        for start in range(0, len(self._rows), width):
            similarity = asked @ self._rows[start : start + width].T
            values, rows = similarity.topk(min(k, similarity.shape[1]), dim=1)
            rows += start
            if best is not None:
                values, rows = torch.cat([best[0], values], dim=1), torch.cat([best[1], rows], dim=1)
                values, kept = values.topk(k, dim=1)
                rows = rows.gather(1, kept)
            best = values, rows
        assert best is not None, "no row to search"
        return best[0].cpu().numpy(), best[1].cpu().numpy()

    def _tensor(self, rows: np.ndarray) -> Tensor:
        with warnings.catch_warnings():
            # A shared array is read-only, which torch warns about although nothing is written here.
            warnings.simplefilter("ignore")
            return torch.from_numpy(rows).to(self._device)
