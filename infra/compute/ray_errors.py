"""What Ray says when memory or disk runs out, in sentences that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from reid_core.errors import UserError

# Ray has no type of its own for this: a plain Exception with this sentence.
_SLOW_START = "timed out during startup"


@contextmanager
def started_in_time() -> Iterator[None]:
    """Say in a sentence that a cluster did not start in the half minute that Ray gives it."""
    try:
        yield
    except Exception as error:
        if _SLOW_START not in str(error):
            raise
        raise UserError(
            "Ray could not start within 30 seconds, perhaps because the machine is busy; give the same command again, "
            "or leave Ray out with --executor local"
        ) from error


def explained(error: BaseException) -> UserError | None:
    """Return the sentence for an error of Ray that the user can mend, or None for any other.

    Args:
        error: As Ray raised it; what it comes from is looked at too.
    """
    import ray.exceptions as of_ray

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, of_ray.OutOfDiskError):
            return UserError(
                "Ray ran out of disk space while it moved objects from its memory to the disk (spilling); free some "
                "where Ray's temporary folder is (/tmp, or --temp-dir of ray start), then give the same command again"
            )
        if isinstance(seen, of_ray.ObjectStoreFullError):
            return UserError(
                "the object store of Ray is full and cannot spill; give it more (ray start --object-store-memory, "
                "docker --shm-size, or an emptyDir of medium Memory at /dev/shm), then give the same command again"
            )
        if isinstance(seen, of_ray.OutOfMemoryError):
            return UserError(
                "a process was ended because the memory of its node ran out; use fewer processes at a time "
                "(--num-cpus, or num_ranks and num_workers of the stage), a smaller batch, or a node with more memory"
            )
        if isinstance(seen, of_ray.RuntimeEnvSetupError):
            return UserError(
                f"a node could not be given the code ({_first_line(seen)}); use the same image or virtual environment "
                "on every node"
            )
        seen = getattr(seen, "cause", None) or seen.__cause__
    return None


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
