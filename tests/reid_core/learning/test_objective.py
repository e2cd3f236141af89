import pytest
import torch

from reid_core.learning.update import weighted_sum


def test_sum_by_hand() -> None:
    terms = {"image": torch.tensor(2.0), "feature": torch.tensor(3.0)}
    torch.testing.assert_close(weighted_sum(terms, {"image": 5.0, "feature": 0.5, "unused": 9.0}), torch.tensor(11.5))


def test_gradient_is_the_weight() -> None:
    term = torch.tensor(2.0, requires_grad=True)
    weighted_sum({"image": term}, {"image": 5.0}).backward()  # type: ignore[no-untyped-call]
    assert term.grad is not None
    assert float(term.grad) == 5.0


def test_a_term_without_weight_is_refused() -> None:
    with pytest.raises(AssertionError, match="cycle"):
        weighted_sum({"cycle": torch.tensor(1.0)}, {"image": 1.0})
    with pytest.raises(AssertionError):
        weighted_sum({}, {"image": 1.0})
