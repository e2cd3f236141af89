"""The picture of a search: each query beside the gallery images that are most similar to it.

R: queries shown, K: length of a list.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from reid_core.evaluation.sheets import Cell, draw_sheet

_BLUE = (30, 90, 200)
_GREY = (150, 150, 150)
_BLACK = (20, 20, 20)


def draw_search(
    queries: Tensor, hits: Sequence[Tensor], similarity: Sequence[np.ndarray], threshold: float, titles: Sequence[str]
) -> Image.Image:
    """Draw queries with their hits, framed blue from the threshold on and grey below it.

    Args:
        queries: RGB bytes, (R, 3, H, W).
        hits: The images of each list, nearest first, (K', 3, H, W) each.
        similarity: Of each list, (K',) each.
        threshold: Similarity from which on a hit is taken for the same person.
        titles: One line a query.

    Returns:
        One row a query; hits say their similarity, and "?" below the threshold.
    """
    rows = []
    for query, images, values in zip(queries, hits, similarity, strict=True):
        cells = [Cell(query, "query", _BLACK)]
        for image, value in zip(images, values, strict=True):
            is_hit = value >= threshold
            cells.append(Cell(image, f"{value:.2f}" if is_hit else f"{value:.2f} ?", _BLUE if is_hit else _GREY))
        rows.append(cells)
    return draw_sheet(rows, titles)
