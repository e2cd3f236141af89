"""Search spaces: settings of the stages, each with the values it may take, checked before anything runs."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.settings_file import read_settings, read_yaml
from reid_core.errors import UserError

Kind = Literal["uniform", "log", "int", "choice"]
_FORM = re.compile(r"\s*(uniform|log|int|choice)\s*\((.*)\)\s*", re.DOTALL)
_EXAMPLES = "uniform(0.4, 0.7), log(1e-4, 1e-2), int(4, 30) or choice(dmixup, fmixup)"


@dataclass(frozen=True)
class Dimension:
    """One setting that varies.

    Attributes:
        key: Dotted name, such as ``joint.lr``.
        kind: ``uniform`` or ``log``: a number between two; ``int``: a whole number; ``choice``: one of several values.
        values: Lower and upper end (both included), or the choices.
    """

    key: str
    kind: Kind
    values: tuple[Any, ...]

    @property
    def stage(self) -> str:
        """Stage that the setting belongs to."""
        return self.key.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.key}={self.kind}({', '.join(str(value) for value in self.values)})"


def parse_dimension(key: str, text: str) -> Dimension:
    """Read one dimension.

    Args:
        key: Dotted name of a setting.
        text: Such as ``log(1e-4, 1e-2)``.

    Returns:
        The dimension; its key is not checked here.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise UserError(f'what {key} may be is written as {_EXAMPLES}, but "{text}" came; correct it')
    kind: Any = match[1]
    values = tuple(_value(part) for part in match[2].split(",") if part.strip())
    if kind == "choice":
        if len(values) < 2 or len(set(map(str, values))) < len(values):
            raise UserError(f'{key}: choice(...) wants at least two different values, but "{text}" came')
        return Dimension(key, kind, values)
    number = int if kind == "int" else (int, float)
    if len(values) != 2 or not all(isinstance(v, number) and not isinstance(v, bool) for v in values):
        what = "two whole numbers" if kind == "int" else "two numbers"
        raise UserError(f'{key}: {kind}(...) wants {what}, the lower and the upper end, but "{text}" came')
    low, high = values
    if not low < high or (kind == "log" and low <= 0):
        raise UserError(f'{key}: the lower end should be below the upper{" and above 0" * (kind == "log")}: "{text}"')
    return Dimension(key, kind, values)


# Ready spaces. Each names settings of one concern, within ranges around the presets' values.
_READY: Mapping[str, Mapping[str, str]] = {
    "contrast": {
        "joint.lr": "log(5e-4, 1e-2)",
        "joint.contrast.temperature": "log(0.02, 0.2)",
        "joint.contrast.rotation_weight": "uniform(0.25, 2.0)",
        "joint.contrast.mixing_weight": "uniform(0.0, 2.0)",
        "joint.contrast.memory_momentum": "uniform(0.0, 0.8)",
    },
    "clustering": {
        "joint.clustering.eps": "uniform(0.35, 0.7)",
        "joint.clustering.k1": "int(5, 30)",
        "joint.clustering.k2": "int(1, 8)",
        "joint.clustering.min_samples": "int(2, 8)",
    },
    "generator": {
        "generator.optim.lr": "log(2e-4, 4e-3)",
        "generator.weights.feature": "log(0.1, 10)",
        "generator.weights.adversarial": "log(0.05, 2)",
        "generator.optim.clip_norm": "log(1, 20)",
    },
}
READY_SPACES = tuple(_READY)


def read_space(name: str | None, extra: Sequence[str]) -> tuple[Dimension, ...]:
    """Return the dimensions of a search.

    Args:
        name: A ready space, or a YAML file that maps settings to what they may be.
        extra: Texts such as ``joint.lr=log(1e-4, 1e-2)``; they replace those of the same key.

    Returns:
        At least one dimension, in the order given.
    """
    texts = dict(_READY[name] if name in _READY else _read_file(name)) if name is not None else {}
    for text in extra:
        key, sign, form = text.partition("=")
        if not sign:
            raise UserError(f'--vary looks like joint.lr=log(1e-4, 1e-2), but "{text}" came; correct it')
        texts[key.strip()] = form
    if not texts:
        raise UserError(f"a search wants something to vary: SEARCH={'|'.join(READY_SPACES)}, a YAML file, or --vary")
    return tuple(parse_dimension(key, form) for key, form in texts.items())


def check_space(space: Sequence[Dimension], configure: Callable[[Sequence[tuple[str, Any]]], object]) -> None:
    """Refuse a space that the configuration does not allow, before anything runs.

    Args:
        space: Dimensions.
        configure: Resolves the configuration with overrides; raises UserError for what it does not allow.
    """
    for dimension in space:
        for value in dimension.values:
            configure([(dimension.key, value)])


def _read_file(name: str) -> dict[str, str]:
    if not os.path.lexists(name):
        raise UserError(
            f'a search space is one of {", ".join(READY_SPACES)} or a YAML file, but there is no "{name}"; correct it'
        )
    content = read_settings(Path(name), "the search space", "its name")
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise UserError(f"the search space {name} should map settings to {_EXAMPLES}; correct it")
    return {str(key): value for key, value in content.items()}


def _value(text: str) -> Any:
    try:
        value = read_yaml(text)
    except ValueError:
        return text.strip()
    if isinstance(value, str):  # YAML reads 1e-4 (without a dot) as text
        try:
            return float(value)
        except ValueError:
            return value
    return value
