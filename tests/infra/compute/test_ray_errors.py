import pytest
import ray.exceptions as of_ray

from infra.compute.ray_errors import explained, started_in_time
from reid_core.errors import UserError


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (of_ray.OutOfDiskError("full"), "spilling"),
        (of_ray.ObjectStoreFullError("full"), "--shm-size"),
        (of_ray.OutOfMemoryError("killed"), "smaller batch"),  # type: ignore[no-untyped-call]
        (of_ray.RuntimeEnvSetupError("no such package\nmore"), "could not be given the code"),
    ],
)
def test_what_the_user_can_mend_is_said(error: Exception, wanted: str) -> None:
    sentence = explained(error)
    assert sentence is not None
    assert wanted in str(sentence)
    assert "\n" not in str(sentence)


def test_the_cause_counts_too() -> None:
    outer = RuntimeError("training failed")
    outer.__cause__ = of_ray.ObjectStoreFullError("full")
    assert "object store" in str(explained(outer))


def test_other_errors_stay_what_they_are() -> None:
    assert explained(ValueError("something else")) is None
    assert explained(of_ray.ActorDiedError()) is None


def test_a_start_that_takes_too_long_is_a_sentence_and_nothing_else_is() -> None:
    with pytest.raises(UserError, match="could not start within 30 seconds"), started_in_time():
        raise Exception("The current node timed out during startup. This could happen because")  # as Ray raises it
    with pytest.raises(ValueError, match="something else"), started_in_time():
        raise ValueError("something else")
