import numpy as np
import pytest

from reid_core.evaluation.ranking import bootstrap_means


def test_equal_values_leave_no_doubt() -> None:
    found = bootstrap_means(np.full((50, 2), 0.25))
    np.testing.assert_allclose([found.low, found.high], 0.25)


def test_close_to_the_normal_interval_of_many_values() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=(2000, 1))
    found = bootstrap_means(values, num_samples=4000)
    error = values.std(ddof=1) / np.sqrt(len(values))
    np.testing.assert_allclose([found.low, found.high], values.mean() + error * np.array([[-1.96], [1.96]]), atol=0.01)


def test_against_draws_one_by_one() -> None:
    values = np.random.default_rng(1).random((30, 3))
    generator = np.random.default_rng(7)
    means = np.array([values[generator.integers(0, 30, 30)].mean(axis=0) for _ in range(20_000)])
    found = bootstrap_means(values, level=0.9, num_samples=20_000, seed=3)
    np.testing.assert_allclose(found.low, np.quantile(means, 0.05, axis=0), atol=0.005)
    np.testing.assert_allclose(found.high, np.quantile(means, 0.95, axis=0), atol=0.005)


def test_one_seed_one_interval() -> None:
    values = np.random.default_rng(2).random((40, 1))
    first, again, other = (bootstrap_means(values, seed=seed) for seed in (0, 0, 1))
    assert (first.low, first.high) == (again.low, again.high)
    assert first.low != other.low


def test_a_higher_level_is_wider() -> None:
    values = np.random.default_rng(3).random((40, 1))
    narrow, wide = bootstrap_means(values, level=0.5), bootstrap_means(values, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_refuses_queries_that_do_not_count() -> None:
    with pytest.raises(AssertionError, match="drop the queries"):
        bootstrap_means(np.array([[np.nan]]))
    with pytest.raises(AssertionError, match="no query counts"):
        bootstrap_means(np.empty((0, 1)))
