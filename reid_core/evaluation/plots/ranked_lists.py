"""Ranked lists: for each query its nearest gallery images, as numbers and as pictures.

Q: queries, R of them on a picture, G: gallery images, K: length of a list.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reid_core.evaluation.ranking import Ranking, Side, cosine_blocks, measure
from reid_core.evaluation.sheets import Cell, draw_sheet

_GREEN = (0, 150, 60)  # a true match
_BLUE = (30, 90, 200)  # a hit of a search, whose truth nobody knows
_GREY = (115, 115, 115)
_BLACK = (20, 20, 20)
_BLOCK_ENTRIES = 4_000_000


class RankedLists(NamedTuple):
    """The top of every query's ranking.

    Attributes:
        gallery: Gallery image at each rank, (Q, K) int64; -1 past the end of the gallery that counts.
        similarity: Cosine similarity, (Q, K) float32.
        match: Whether it shows the query's person, (Q, K) bool.
    """

    gallery: np.ndarray
    similarity: np.ndarray
    match: np.ndarray


def ranked_lists(query: Side, gallery: Side, *, length: int = 10) -> RankedLists:
    """Return the nearest gallery images of every query, those of the same person and camera left out.

    Args:
        query: Q images.
        gallery: G images.
        length: Images of a list; shortened to G.

    Returns:
        Lists by falling similarity.
    """
    blocks: list[RankedLists] = []
    for _ in _listing(query, gallery, length, blocks):
        pass
    return _joined(blocks)


def rank_and_list(query: Side, gallery: Side, *, length: int = 10) -> tuple[Ranking, RankedLists]:
    """Measure a ranking and keep its top, from one computation of the similarities.

    Args:
        query: Q images.
        gallery: G images, none of them junk.
        length: Images of a list; shortened to G.

    Returns:
        The same as ``evaluate_ranking`` and ``ranked_lists``.
    """
    blocks: list[RankedLists] = []
    ranking = measure(_listing(query, gallery, length, blocks), query, gallery)
    return ranking, _joined(blocks)


def _listing(query: Side, gallery: Side, length: int, lists: list[RankedLists]) -> Iterator[np.ndarray]:
    """Yield blocks of similarities; the ranked lists of each are appended to ``lists`` before."""
    length = min(length, len(gallery.people))
    rows_at_once = max(1, _BLOCK_ENTRIES // max(1, len(gallery.people)))
    first = 0
    for block in cosine_blocks(query.features, gallery.features):
        for start in range(0, len(block), rows_at_once):
            similarity = torch.from_numpy(block[start : start + rows_at_once])
            rows = slice(first + start, first + start + len(similarity))
            labels = (query.people[rows], query.cameras[rows])
            lists.append(_list_rows(similarity, *labels, gallery, length))
        first += len(block)
        yield block


def _list_rows(similarity: Tensor, people: Tensor, cameras: Tensor, gallery: Side, length: int) -> RankedLists:
    same_person = people[:, None] == gallery.people
    left_out = same_person & (cameras[:, None] == gallery.cameras)
    top = similarity.masked_fill(left_out, float("-inf")).topk(length, dim=1)
    there = top.values.isfinite()
    match = same_person.gather(1, top.indices) & there
    return RankedLists(top.indices.masked_fill(~there, -1).numpy(), top.values.numpy(), match.numpy())


def _joined(blocks: Sequence[RankedLists]) -> RankedLists:
    return RankedLists(*(np.concatenate(columns) for columns in zip(*blocks, strict=True)))


def choose_queries(average_precision: np.ndarray, num_queries: int, generator: torch.Generator) -> dict[str, list[int]]:
    """Choose queries to look at: ``random``, ``best`` and ``worst`` by average precision; skipped ones (NaN) never.

    Args:
        average_precision: Of every query, (Q,).
        num_queries: How many of each.
        generator: For the random ones.

    Returns:
        Indices of the queries by kind.
    """
    counted = np.flatnonzero(np.isfinite(average_precision))
    order = counted[np.argsort(average_precision[counted], kind="stable")]
    drawn = torch.randperm(len(counted), generator=generator)[:num_queries].numpy()
    return {
        "random": sorted(counted[drawn].tolist()),
        "best": order[::-1][:num_queries].tolist(),
        "worst": order[:num_queries].tolist(),
    }


def draw_ranked_lists(
    query_images: Tensor,
    gallery_images: Sequence[Tensor],
    *,
    match: np.ndarray,
    cameras: tuple[np.ndarray, Sequence[np.ndarray]],
    titles: Sequence[str],
) -> Image.Image:
    """Draw queries with their lists: true matches are framed green and say "match", the others "other".

    Args:
        query_images: RGB bytes, (R, 3, H, W) for R chosen queries.
        gallery_images: For each of them the images of its list, (K', 3, H, W) each.
        match: Whether each listed image shows the query's person, (R, K).
        cameras: Cameras of the queries, (R,), and of each list, (K',) each; from 0, shown from 1.
        titles: One line for each query.

    Returns:
        One row a query.
    """
    rows = []
    for row, image in enumerate(query_images):
        cells = [Cell(image, f"query, c{cameras[0][row] + 1}", _BLACK)]
        for rank, listed in enumerate(gallery_images[row]):
            word, colour = ("match", _GREEN) if match[row, rank] else ("other", _GREY)
            cells.append(Cell(listed, f"{word}, c{cameras[1][row][rank] + 1}", colour))
        rows.append(cells)
    return draw_sheet(rows, titles)


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
