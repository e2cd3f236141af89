"""Unsupervised person re-identification from Python; docs/guide/python.md shows all of it."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genvar import losses as losses
    from reid_core.api import Encoder as Encoder
    from reid_core.api import evaluate as evaluate
    from reid_core.api import list_images as list_images
    from reid_core.api import load_encoder as load_encoder
    from reid_core.api import pseudo_labels as pseudo_labels
    from reid_core.api import rank as rank
    from reid_core.api import suggest_threshold as suggest_threshold
    from reid_core.api import threshold_curve as threshold_curve
    from reid_core.errors import UserError as UserError

__all__ = [
    "Encoder",
    "UserError",
    "evaluate",
    "list_images",
    "load_encoder",
    "losses",
    "pseudo_labels",
    "rank",
    "suggest_threshold",
    "threshold_curve",
]


def __getattr__(name: str) -> object:
    # Imported when asked for: torch takes seconds, ``import genvar`` should not.
    if name not in __all__:
        raise AttributeError(f"module 'genvar' has no attribute {name!r}")
    return import_module("genvar.losses") if name == "losses" else getattr(import_module("reid_core.api"), name)


def __dir__() -> list[str]:
    return __all__
