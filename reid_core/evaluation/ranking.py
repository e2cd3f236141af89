"""mAP, CMC and mINP of a retrieval, computed in blocks of queries: the whole distance matrix never exists.

Protocol of Market-1501: for each query, gallery images of the same person seen by the same camera are left out;
distractors stay; queries without a true match are skipped and counted.

Q: queries, G: gallery images, D: feature size, B: queries of a block, M: most true matches of a query of the block.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reid_core.errors import UserError

RANKS = (1, 5, 10, 20)
_BLOCK_ENTRIES = 4_000_000  # similarities of one block: 16 MB in float32


class Side(NamedTuple):
    """Queries or gallery images.

    Attributes:
        features: L2-normalised embeddings, (N, D) float32.
        people: Person of each image, (N,) int64.
        cameras: Camera of each image, (N,) int64.
    """

    features: Tensor
    people: Tensor
    cameras: Tensor


class Ranking(NamedTuple):
    """Quality of a retrieval; fractions, not percent.

    Attributes:
        mean_ap: Mean over queries of the mean over true matches of the precision at the match.
        cmc: For each asked rank, the fraction of queries whose first true match is at least as near.
        mean_inp: Mean over queries of (true matches / rank of the last one).
        num_queries: Queries that count.
        num_skipped: Queries without a true match.
        average_precision: Of every query, NaN for skipped ones, (Q,) float64.
    """

    mean_ap: float
    cmc: dict[int, float]
    mean_inp: float
    num_queries: int
    num_skipped: int
    average_precision: np.ndarray


def evaluate_ranking(query: Side, gallery: Side, *, ranks: Sequence[int] = RANKS) -> Ranking:
    """Rank the gallery for every query and measure where the true matches stand.

    A false match exactly as near as a true one counts as nearer: an encoder that maps everything to one point
    deserves the worst figures, not the best.

    Args:
        query: Q images.
        gallery: G images.
        ranks: Ranks of the CMC curve.

    Returns:
        Measures over the queries that have a true match; at least one has.
    """
    if len(query.people) == 0 or len(gallery.people) == 0:
        raise UserError("ranking needs at least one query and one gallery image; check the query and gallery folders")
    block = max(1, _BLOCK_ENTRIES // len(gallery.people))
    first, precision, inverse = [], [], []
    for start in range(0, len(query.people), block):
        positions = _match_positions(Side(*(column[start : start + block] for column in query)), gallery)
        count = positions.isfinite().sum(dim=1)
        order = torch.arange(1, positions.shape[1] + 1, dtype=torch.float64)
        hit_precision = torch.where(positions.isfinite(), order / positions, 0.0)
        precision.append(hit_precision.sum(dim=1) / count)  # 0 / 0 = NaN marks a skipped query
        last = torch.where(positions.isfinite(), positions, 0.0).amax(dim=1)
        inverse.append(count / last)
        first.append(positions[:, 0])
    average_precision, inverse_last, first_rank = torch.cat(precision), torch.cat(inverse), torch.cat(first)
    counted = average_precision.isfinite()
    if not counted.any():
        raise UserError(
            f"none of the {len(counted)} queries has a gallery image of the same person from another camera; "
            "evaluation needs people seen by at least two cameras"
        )
    return Ranking(
        mean_ap=float(average_precision[counted].mean()),
        cmc={rank: float((first_rank[counted] <= rank).double().mean()) for rank in ranks},
        mean_inp=float(inverse_last[counted].mean()),
        num_queries=int(counted.sum()),
        num_skipped=int((~counted).sum()),
        average_precision=average_precision.numpy(),
    )


def _match_positions(query: Side, gallery: Side) -> Tensor:
    """Return the rank (from 1) of every true match, rising, padded with infinity; (B, max(M, 1)) float64."""
    similarity = query.features @ gallery.features.T  # (B, G)
    same_person = query.people[:, None] == gallery.people
    matches = same_person & (query.cameras[:, None] != gallery.cameras)
    num_matches = matches.sum(dim=1)
    width = max(1, int(num_matches.max()))
    # Similarities of the true matches, falling, padded with -inf.
    nearest = similarity.masked_fill(~matches, float("-inf")).topk(width, dim=1).values  # (B, M)
    # A false match with similarity v stands before the true matches with similarity <= v: find the first of them,
    # then sum up over the list. Images of the same person (true or left out) never stand in the way.
    rising = -nearest
    slot = torch.searchsorted(rising, -similarity.masked_fill(same_person, float("-inf")))  # (B, G)
    before = torch.zeros(len(similarity), width + 1, dtype=torch.float64)
    before.scatter_add_(1, slot, (~same_person).double())
    positions = before[:, :width].cumsum(dim=1) + torch.arange(1, width + 1)
    return positions.masked_fill(torch.arange(width) >= num_matches[:, None], float("inf"))
