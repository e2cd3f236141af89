"""mAP, CMC and mINP of a retrieval, computed in blocks of queries: the whole distance matrix never exists.

Protocol of Market-1501 (Zheng et al., ICCV 2015): for each query, gallery images of the same person seen by the same
camera are left out, and so is junk (person -1: nobody, or half a person); distractors stay; queries without a true
match are skipped and counted. mINP is that of Ye et al., "Deep learning for person re-identification" (TPAMI 2021).

Q: queries, G: gallery images, D: feature size, B: queries of a block, C: cameras, K: length of a list, M: measures.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import bootstrap
from torch import Tensor

from reid_core.errors import UserError
from reid_core.evaluation.ranking_kernel import Scores, group_gallery, score_block

RANKS = (1, 5, 10, 20)
_BLOCK_ENTRIES = 64_000_000  # similarities of one block: 256 MB; smaller blocks read the gallery too often
_DRAWS_AT_ONCE = 100  # of the bootstrap, which bounds its memory


class Side(NamedTuple):
    """Queries or gallery images.

    Attributes:
        features: L2-normalised embeddings, (N, D) float32.
        people: Person of each image, (N,) int64; -1 for junk.
        cameras: Camera of each image, (N,) int64.
    """

    features: Tensor
    people: Tensor
    cameras: Tensor


class CameraPair(NamedTuple):
    """Quality of the queries of one camera among the gallery images of another.

    Attributes:
        query_camera: From 0.
        gallery_camera: From 0.
        mean_ap: Fraction.
        rank1: Fraction.
        num_queries: Queries with a true match there.
    """

    query_camera: int
    gallery_camera: int
    mean_ap: float
    rank1: float
    num_queries: int


class Ranking(NamedTuple):
    """Quality of a retrieval; fractions, not percent.

    Attributes:
        mean_ap: Mean over queries of the mean over true matches of the precision at the match.
        cmc: For each asked rank, the fraction of queries whose first true match is at least as near.
        mean_inp: Mean over queries of (true matches / rank of the last one).
        num_queries: Queries that count.
        num_skipped: Queries without a true match.
        average_precision: Of every query, NaN for skipped ones, (Q,) float64.
        first_match: Rank of the first true match of every query, from 1, NaN for skipped ones, (Q,) float64.
        camera_pairs: By query camera, then gallery camera; pairs without a true match are left out.
    """

    mean_ap: float
    cmc: dict[int, float]
    mean_inp: float
    num_queries: int
    num_skipped: int
    average_precision: np.ndarray
    first_match: np.ndarray
    camera_pairs: tuple[CameraPair, ...]


def evaluate_ranking(query: Side, gallery: Side, *, ranks: Sequence[int] = RANKS) -> Ranking:
    """Rank the gallery for every query by cosine similarity, and measure where the true matches stand.

    A stranger exactly as near as a true match counts as nearer: an encoder that maps everything to one point deserves
    the worst figures, not the best. Among themselves, true matches (and strangers) that tie may stand in any order,
    because the measures do not see it.

    Args:
        query: Q images.
        gallery: G images.
        ranks: Ranks of the CMC curve.

    Returns:
        Measures over the queries that have a true match; at least one has.

    Raises:
        UserError: There is no query, no gallery image, no query that counts, or a feature that is no number.
    """
    gallery = without_junk(gallery)
    return measure(cosine_blocks(query.features, gallery.features), query, gallery, ranks=ranks)


def without_junk(side: Side) -> Side:
    """Return the images that count; the same object when all do."""
    junk = side.people < 0
    return Side(*(column[~junk] for column in side)) if junk.any() else side


def cosine_blocks(query: Tensor, gallery: Tensor) -> Iterator[np.ndarray]:
    """Yield the similarities of block after block of queries, (B, G) float32 each; a block is overwritten by the next.

    Args:
        query: L2-normalised features, (Q, D).
        gallery: L2-normalised features, (G, D).
    """
    block = max(1, min(len(query), _BLOCK_ENTRIES // max(1, len(gallery))))
    buffer = torch.empty(block, len(gallery))
    for start in range(0, len(query), block):
        rows = query[start : start + block]
        yield torch.mm(rows, gallery.T, out=buffer[: len(rows)]).numpy()


class Hits(NamedTuple):
    """The most similar gallery images of every query, by falling similarity.

    Attributes:
        indices: Positions in the gallery, (Q, K) int64; -1 past the end.
        similarities: Cosine similarities, (Q, K) float32; -inf past the end.
    """

    indices: np.ndarray
    similarities: np.ndarray


def most_similar(query: Tensor, gallery: Tensor, *, length: int, own: np.ndarray | None = None) -> Hits:
    """Return the gallery images that are most similar to each query.

    Args:
        query: L2-normalised features, (Q, D).
        gallery: L2-normalised features, (G, D).
        length: K; shortened to G.
        own: Position in the gallery of each query itself, which is left out, (Q,); -1 where it is not there.
    """
    hits, start = [], 0
    for block in cosine_blocks(query, gallery):
        if own is not None:
            rows = np.flatnonzero(own[start : start + len(block)] >= 0)
            block[rows, own[start + rows]] = -np.inf
        values, indices = torch.from_numpy(block).topk(min(length, len(gallery)), dim=1)
        hits.append((indices.masked_fill(values.isinf(), -1).numpy(), values.numpy()))
        start += len(block)
    return Hits(*(np.concatenate(blocks) for blocks in zip(*hits, strict=True)))


def measure(blocks: Iterable[np.ndarray], query: Side, gallery: Side, *, ranks: Sequence[int] = RANKS) -> Ranking:
    """Measure a ranking given by any similarities.

    Args:
        blocks: Similarities of the queries, in order, with every gallery image: (B, G) float32 each.
        query: Q images; their features are not used but checked.
        gallery: G images, none of them junk; likewise.
        ranks: Ranks of the CMC curve.

    Returns:
        As for ``evaluate_ranking``.
    """
    if len(query.people) == 0 or len(gallery.people) == 0:
        raise UserError("ranking needs at least one query and one gallery image; check the query and gallery folders")
    assert not (gallery.people < 0).any(), "drop the junk of the gallery first"
    _refuse_nan(query, gallery)
    people, num_people = _from_zero(query.people, gallery.people)
    cameras, num_cameras = _from_zero(query.cameras, gallery.cameras)
    num_queries = len(query.people)
    grouped = group_gallery(people[num_queries:], cameras[num_queries:], num_people=num_people, num_cameras=num_cameras)
    scores, start = [], 0
    for similarity in blocks:
        rows = slice(start, start + len(similarity))
        start += len(similarity)
        labels = (people[:num_queries][rows], cameras[:num_queries][rows])
        scores.append(score_block(similarity, *labels, grouped, num_threads=torch.get_num_threads()))
    assert start == num_queries, (start, num_queries)
    whole = Scores(*(np.concatenate(columns) for columns in zip(*scores, strict=True)))
    names = np.unique(torch.cat([query.cameras, gallery.cameras]).numpy())
    return _summary(whole, cameras[:num_queries], names, ranks)


def _summary(scores: Scores, cameras: np.ndarray, camera_names: np.ndarray, ranks: Sequence[int]) -> Ranking:
    counted = scores.num_matches > 0
    if not counted.any():
        raise UserError(
            f"none of the {len(counted)} queries has a gallery image of the same person from another camera; "
            "evaluation needs people seen by at least two cameras"
        )
    first = scores.first[:, 0]
    return Ranking(
        mean_ap=float(scores.precision[counted, 0].mean()),
        cmc={rank: float((first[counted] <= rank).mean()) for rank in ranks},
        mean_inp=float((scores.num_matches[counted] / scores.last[counted]).mean()),
        num_queries=int(counted.sum()),
        num_skipped=int((~counted).sum()),
        average_precision=scores.precision[:, 0],
        first_match=first,
        camera_pairs=tuple(_camera_pairs(scores, cameras, camera_names)),
    )


def _camera_pairs(scores: Scores, cameras: np.ndarray, names: np.ndarray) -> Iterator[CameraPair]:
    for query_camera in range(len(names)):
        rows = cameras == query_camera
        for gallery_camera in range(len(names)):
            precision = scores.precision[rows, 1 + gallery_camera]
            there = np.isfinite(precision)
            if there.any():
                yield CameraPair(
                    query_camera=int(names[query_camera]),
                    gallery_camera=int(names[gallery_camera]),
                    mean_ap=float(precision[there].mean()),
                    rank1=float((scores.first[rows, 1 + gallery_camera][there] <= 1).mean()),
                    num_queries=int(there.sum()),
                )


def _from_zero(query: Tensor, gallery: Tensor) -> tuple[np.ndarray, int]:
    """Count the values of both sides from 0: (Q + G,) int32, and how many there are."""
    names, numbers = np.unique(torch.cat([query, gallery]).numpy(), return_inverse=True)
    return numbers.astype(np.int32), len(names)


def _refuse_nan(query: Side, gallery: Side) -> None:
    for name, side in (("query", query), ("gallery", gallery)):
        # A sum is not a number when one of its terms is none; rows with one are then looked for.
        if not torch.isfinite(side.features.sum()) and not torch.isfinite(side.features).all():
            raise UserError(
                f"the features of the {name} images hold NaN or infinity: training diverged; lower its learning rate"
            )


class Interval(NamedTuple):
    """Confidence intervals of M means.

    Attributes:
        low: Lower ends, (M,) float64.
        high: Upper ends, (M,) float64.
    """

    low: np.ndarray
    high: np.ndarray


def bootstrap_means(values: np.ndarray, *, level: float = 0.95, num_samples: int = 1000, seed: int = 0) -> Interval:
    """Tell how far means could lie elsewhere, had other queries been drawn: percentile bootstrap (Efron 1979).

    The interval tells of the draw of the queries alone. Another training seed, or other people, move a result too:
    several seeds tell that.

    Args:
        values: Measures of every query that counts, (Q, M); all measures see the same draws.
        level: Share of the means that the interval holds, in (0, 1).
        num_samples: Number of draws.
        seed: Of the draws.

    Returns:
        Percentiles of the means.
    """
    assert values.ndim == 2, values.shape
    assert len(values), "no query counts"
    assert np.isfinite(values).all(), "drop the queries that do not count first"
    if len(values) == 1:  # every draw is the same, which SciPy refuses
        return Interval(values[0], values[0])
    ends = bootstrap(
        (values,),
        np.mean,
        n_resamples=num_samples,
        batch=_DRAWS_AT_ONCE,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(ends.low, ends.high)
