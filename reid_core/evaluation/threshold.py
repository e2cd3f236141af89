"""A similarity from which on two images are taken for one person, suggested without any label.

Almost all pairs of a query and a gallery image are strangers, so the whole distribution says little about matches.
Among the few nearest images of every query, matches and the most similar strangers stand side by side: Otsu's threshold
parts these two groups best. Whether there are two groups at all is told by the gap between them; often there is none.

Q: queries, K: nearest gallery images of each.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import gaussian_kde
from skimage.filters import threshold_otsu

NEAREST = 10  # images of every query that are looked at
_NO_GAP = 0.8  # a valley as high as this share of the lower hill is none
_BINS = 256
_GRID = 256
_MOST = 20_000  # similarities of the density estimate; more change nothing that can be seen
_FEWEST = 20


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
