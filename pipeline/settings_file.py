"""Files of settings that a user wrote: YAML, JSON or TOML; light, because the help of the commands imports it."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from reid_core.errors import UserError

# Settings are a few kilobytes; a parser would need many times the size of a large file.
_MAX_FILE_BYTES = 1_000_000


def read_settings(path: Path, what: str, option: str) -> Any:
    """Read a file of settings: YAML, or JSON or TOML by the end of its name.

    Args:
        path: The file.
        what: Names it in messages.
        option: By which it was given.

    Returns:
        Its content, of any type.
    """
    try:
        if path.is_file() and (size := path.stat().st_size) > _MAX_FILE_BYTES:
            raise UserError(
                f"{what} {path} may have up to {_MAX_FILE_BYTES:,} bytes, but has {size:,}; it holds settings alone, "
                "so name data and weights by their paths"
            )
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".toml":
            return _read_toml(text)
        if path.suffix == ".json":
            return json.loads(text, object_pairs_hook=_without_doubles)
        return read_yaml(text)
    except OSError as error:
        raise UserError(f"{what} {path} cannot be read ({error.strerror}); check {option}") from error
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"{what} {path} is not valid ({' '.join(str(error).split())}); correct it") from error


def read_yaml(text: str) -> Any:
    """Read YAML; a ValueError for whatever is wrong with it."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error


class _Loader(yaml.SafeLoader):
    """YAML without doubles: of two sections of one name, the first would be dropped."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; a name that comes twice is an error."""
        _without_doubles([(key.value, value) for key, value in node.value if isinstance(key.value, str)])
        return super().construct_mapping(node, deep)


def _without_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'"{name}" stands there twice')
    return dict(pairs)


def _read_toml(text: str) -> Any:
    try:
        tomllib = importlib.import_module("tomllib")
    except ModuleNotFoundError as error:
        raise ValueError("TOML needs Python 3.11 or newer; write it as YAML") from error
    return tomllib.loads(text)
