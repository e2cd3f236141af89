"""Exact search by inner product with torch, for GPUs that FAISS was not built for; see ``faiss_search``.

A module of its own, because no process may load FAISS and torch together.

N: images, D: feature size, Q: queries.
"""

import warnings

import numpy as np
import torch
from torch import Tensor

_BLOCK_BYTES = 1 << 30  # of a block of similarities


class TorchSearch:
    """Features on a device, searched block by block.

    Args:
        features: L2-normalised features, (N, D) float32.
        device: Where to search; a GPU when there is one, when None.
    """

    def __init__(self, features: np.ndarray, device: torch.device | None = None) -> None:
        self._device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._features = self._tensor(features)

    def nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Search exactly.

        Args:
            queries: Features, (Q, D) float32.
            k: Neighbours to find, at most N.

        Returns:
            Similarities (Q, k) float32, falling, and indices (Q, k) int64.
        """
        queried = self._tensor(queries)
        width = max(k, _BLOCK_BYTES // (4 * len(queries)))
        best: tuple[Tensor, Tensor] | None = None
        for start in range(0, len(self._features), width):
            similarity = queried @ self._features[start : start + width].T
            values, indices = similarity.topk(min(k, similarity.shape[1]), dim=1)
            indices += start
            if best is not None:  # the k largest of both blocks
                values, indices = torch.cat([best[0], values], dim=1), torch.cat([best[1], indices], dim=1)
                values, places = values.topk(k, dim=1)
                indices = indices.gather(1, places)
            best = values, indices
        assert best is not None, "no feature to search"
        return best[0].cpu().numpy(), best[1].cpu().numpy()

    def _tensor(self, features: np.ndarray) -> Tensor:
        with warnings.catch_warnings():
            # A shared array is read-only, which torch warns about although nothing is written here.
            warnings.simplefilter("ignore")
            return torch.from_numpy(features).to(self._device)
