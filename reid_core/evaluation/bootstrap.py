"""How far a mean over queries could lie elsewhere, had other queries been drawn: percentile bootstrap.

The interval tells of the draw of the queries alone. Another training seed, or other people, move a result too: several
seeds tell that.

Q: queries that count, M: measures, S: samples.
"""

from typing import NamedTuple

import numpy as np

_SAMPLES_AT_ONCE = 100


class Interval(NamedTuple):
    """Confidence intervals of M means.

    Attributes:
        low: Lower ends, (M,) float64.
        high: Upper ends, (M,) float64.
    """

    low: np.ndarray
    high: np.ndarray


def bootstrap_means(values: np.ndarray, *, level: float = 0.95, num_samples: int = 1000, seed: int = 0) -> Interval:
    """Draw as many queries with replacement as there are, again and again, and look at the means (Efron 1979).

    Args:
        values: Measures of every query that counts, (Q, M); all measures see the same draws.
        level: Share of the means that the interval holds, in (0, 1).
        num_samples: S, number of draws.
        seed: Of the draws.

    Returns:
        Percentiles of the means.
    """
    assert values.ndim == 2, values.shape
    assert len(values), "no query counts"
    assert np.isfinite(values).all(), "drop the queries that do not count first"
    assert 0 < level < 1, level
    generator = np.random.default_rng(seed)
    num_queries = len(values)
    means = []
    for start in range(0, num_samples, _SAMPLES_AT_ONCE):
        size = min(_SAMPLES_AT_ONCE, num_samples - start)
        # How often each query is drawn; the mean over a draw is then a product.
        draws = generator.multinomial(num_queries, np.full(num_queries, 1 / num_queries), size=size)
        means.append(draws @ values / num_queries)
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Interval(low, high)
