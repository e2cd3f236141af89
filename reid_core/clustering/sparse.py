"""Sparse square arrays by rows, as compiled loops want them."""

from typing import NamedTuple

import numpy as np


class SparseRows(NamedTuple):
    """Rows of a sparse N x N array; columns of a row rise.

    Attributes:
        indptr: Row i lies in ``indices[indptr[i]:indptr[i + 1]]``, (N + 1,) int64.
        indices: Columns, int32.
        values: Entries, float32.
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray


def allocate(counts: np.ndarray) -> SparseRows:
    """Return rows of so many entries each, (N,), that are still to be filled."""
    indptr = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=indptr[1:])
    return SparseRows(indptr, np.empty(indptr[-1], dtype=np.int32), np.empty(indptr[-1], dtype=np.float32))
