"""Compilation of loops to machine code by numba, kept on disk where there is a folder for it."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function without the lock of the interpreter.

    numba keeps what it compiles beside the source or in the user's cache folder, and refuses to go on where neither can
    be written (an installed package under a user without a home). There every process compiles anew, in a few seconds.

    Args:
        options: Of numba, such as ``fastmath`` and ``inline``.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:
            return njit(nogil=True, **options)(function)

    return decorate
