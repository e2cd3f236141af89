"""A similarity from which on two images are taken for one person, suggested without any label.

Almost all pairs of a query and a gallery image are strangers, so the whole distribution says little about matches.
Among the few nearest images of every query, matches and the most similar strangers stand side by side: Otsu's threshold
parts these two groups best. Whether there are two groups at all is told by the gap between them; often there is none.

How many of the pairs from a threshold on are strangers is estimated from all pairs: nearly all of them are strangers,
so their middle and their 90th percentile give a normal distribution, whose tail says how many strangers are so similar.
With labels the same share is counted.

Q: queries, K: nearest gallery images of each, G: gallery images, T: thresholds.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import gaussian_kde, norm
from skimage.filters import threshold_otsu
from torch import Tensor

from reid_core.errors import UserError
from reid_core.evaluation.ranking import Side, cosine_blocks, without_junk

NEAREST = 10  # images of every query that are looked at
_NO_GAP = 0.8  # a valley as high as this share of the lower hill is none
_BINS = 256
_GRID = 256
_MOST = 20_000  # similarities of the density estimate, gallery images of the estimate; more change nothing
_FEWEST = 20
_UPPER = 0.9  # quantile of all similarities that gives the strangers' deviation; few galleries hold more matches
_FEWEST_IMAGES = 20  # of a gallery, for an estimate
_MOST_QUERIES = 500  # of that estimate
_ROUNDING = 1e-6  # of a similarity in 32 bits
_STEPS = 400  # thresholds from -1 to 1


class Suggestion(NamedTuple):
    """A threshold, and how far to trust it.

    Attributes:
        threshold: Similarities of at least this are taken for matches.
        valley: Lowest density between the two hills as a share of the lower hill: 0 is a clear gap, 1 is none.
    """

    threshold: float
    valley: float

    @property
    def has_gap(self) -> bool:
        """Whether two groups can be told apart at all."""
        return self.valley < _NO_GAP


def suggest_threshold(similarity: np.ndarray) -> Suggestion:
    """Suggest a threshold from the similarities of every query's nearest images.

    Args:
        similarity: Of each query with its ``NEAREST`` gallery images, (Q, K); NaN or -inf where there is none.

    Returns:
        Otsu's threshold (Otsu 1979) of the finite values and the depth of the valley there; with fewer than 20 values,
        or with equal ones, the largest value and no gap.
    """
    values = similarity[np.isfinite(similarity)].astype(np.float64)
    assert len(values), "no similarity to look at"
    if len(values) < _FEWEST or np.ptp(values) < 1e-6:
        return Suggestion(float(values.max()), 1.0)
    otsu = float(threshold_otsu(values, nbins=_BINS)) + np.ptp(values) / _BINS / 2  # type: ignore[no-untyped-call]
    # That was the upper edge of the last bin below. The criterion is the same all over the empty stretch that may
    # follow: its middle is the safest place.
    threshold = float(values[values <= otsu].max() + values[values > otsu].min()) / 2
    return Suggestion(threshold, _valley(values, threshold))


def _valley(values: np.ndarray, threshold: float) -> float:
    if len(values) > _MOST:
        values = np.random.default_rng(0).choice(values, _MOST, replace=False)
    grid = np.linspace(values.min(), values.max(), _GRID)
    density = gaussian_kde(values)(grid)
    below = int(np.argmax(np.where(grid <= threshold, density, 0.0)))
    above = int(np.argmax(np.where(grid > threshold, density, 0.0)))
    return float(density[below : above + 1].min() / min(density[below], density[above]))


class Strangers(NamedTuple):
    """Similarities of pairs of strangers as estimated without labels: normal, around a middle for each query.

    Attributes:
        thresholds: Rising, (T,).
        false_share: Expected share of strangers among the pairs of at least each threshold, (T,); NaN where there is
            no pair.
    """

    thresholds: np.ndarray
    false_share: np.ndarray

    def at(self, threshold: float) -> float:
        """Return the expected share of strangers from a threshold on; NaN where nothing is so similar."""
        index = int(np.searchsorted(self.thresholds, threshold - _ROUNDING))
        return float(self.false_share[min(index, len(self.thresholds) - 1)])

    def lowest(self, max_false: float) -> float | None:
        """Return the lowest threshold from which on no more than a share is expected to be strangers; None: nowhere."""
        good = np.isfinite(self.false_share) & (self.false_share <= max_false)
        bad = np.flatnonzero(np.isfinite(self.false_share) & ~good)
        if len(bad):
            good[: bad[-1] + 1] = False
        return float(self.thresholds[np.flatnonzero(good)[0]]) if good.any() else None


class LabelledCurve(NamedTuple):
    """What each threshold does, counted with labels.

    Attributes:
        thresholds: Rising, (T,).
        precision: Share of the same person among the pairs of at least the threshold; NaN where there is none, (T,).
        recall: Share of the pairs of one person that reach the threshold, (T,).
        false_match_rate: Share of the pairs of strangers that reach it, (T,).
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    false_match_rate: np.ndarray


def estimate_strangers(similarity: np.ndarray) -> Strangers | None:
    """Estimate, without labels, how many of the similar pairs are strangers.

    Args:
        similarity: Of queries with all gallery images or a random part of them, (Q, G); -inf where a pair does not
            count.

    Returns:
        The estimate; None when a query has fewer than 20 gallery images or all similarities are equal.
    """
    values = np.where(np.isfinite(similarity), similarity, np.nan).astype(np.float64)
    counts = np.isfinite(values).sum(axis=1)  # (Q,)
    if not len(values) or counts.min() < _FEWEST_IMAGES:
        return None
    middle = np.nanmedian(values, axis=1)
    apart = values - middle[:, None]
    deviation = float(np.nanquantile(apart, _UPPER)) / norm.ppf(_UPPER)
    if not deviation > 1e-6:
        return None
    thresholds = np.linspace(-1, 1, _STEPS + 1)
    reached = np.sort(values[np.isfinite(values)])
    above = len(reached) - np.searchsorted(reached, thresholds - _ROUNDING)  # (T,)
    strangers = np.array([(norm.sf((threshold - middle) / deviation) * counts).sum() for threshold in thresholds])
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(above > 0, np.minimum(strangers / above, 1), np.nan)
    return Strangers(thresholds, share)


def sampled_similarities(query: Tensor, gallery: Tensor, own: np.ndarray) -> np.ndarray:
    """Return the similarities of at most 500 queries with at most 20,000 gallery images, drawn by a fixed seed.

    Args:
        query: L2-normalised features, (Q, D).
        gallery: L2-normalised features, (G, D).
        own: Position in the gallery of each query itself, which becomes -inf, (Q,); -1 where it is not there.
    """
    random = np.random.default_rng(0)
    rows, columns = (
        np.sort(random.choice(len(side), min(len(side), most), replace=False))
        for side, most in ((query, _MOST_QUERIES), (gallery, _MOST))
    )
    similarity: np.ndarray = (query[torch.from_numpy(rows)] @ gallery[torch.from_numpy(columns)].T).numpy()
    similarity[own[rows, None] == columns] = -np.inf
    return similarity


def measure_thresholds(query: Side, gallery: Side) -> LabelledCurve:
    """Count matches and strangers from each threshold on; pairs of one person and one camera do not count, nor junk.

    Args:
        query: Q images.
        gallery: G images.
    """
    query, gallery = without_junk(query), without_junk(gallery)
    edges = np.linspace(-1, 1, _STEPS + 1)
    matches, strangers = np.zeros(_STEPS + 1), np.zeros(_STEPS + 1)
    start = 0
    for similarity in cosine_blocks(query.features, gallery.features):
        rows = slice(start, start := start + len(similarity))
        same = (query.people[rows, None] == gallery.people).numpy()  # (B, G)
        other_camera = (query.cameras[rows, None] != gallery.cameras).numpy()
        # A similarity reaches all edges up to its step.
        step = np.searchsorted(edges, np.clip(similarity, -1, 1) + _ROUNDING, side="right") - 1
        matches += np.bincount(step[same & other_camera], minlength=_STEPS + 1)
        strangers += np.bincount(step[~same], minlength=_STEPS + 1)
    if not matches.any():
        raise UserError("no query has a picture of the same person under another camera: there is no curve")
    reached, wrong = matches[::-1].cumsum()[::-1], strangers[::-1].cumsum()[::-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return LabelledCurve(edges, reached / (reached + wrong), reached / matches.sum(), wrong / strangers.sum())
