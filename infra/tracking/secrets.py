"""Passwords and tokens do not belong into logs, parameters and tags, which many people read."""

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"

_NAME = re.compile(r"(password|passwd|secret|token|api_?key|access_?key|credential)", re.IGNORECASE)
# scheme://user:password@host, and scheme://token@host
_IN_ADDRESS = re.compile(r"(?<=://)[^/\s@]+@")
_IN_QUERY = re.compile(
    r"([?&][^=&\s]*(?:password|passwd|secret|token|api_?key|access_?key|credential|signature)[^=&\s]*=)[^&\s\"']+",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """Return a text with the secrets of the addresses in it hidden: logins, and tokens of a query."""
    return _IN_QUERY.sub(rf"\1{HIDDEN}", _IN_ADDRESS.sub(f"{HIDDEN}@", text))


def has_login(uri: str) -> bool:
    """Tell whether an address carries a name or password."""
    return _IN_ADDRESS.search(uri) is not None


def redacted_values(values: Mapping[str, str]) -> dict[str, str]:
    """Return parameters or tags as they may be logged.

    Args:
        values: Dotted name to text.

    Returns:
        The same names; what is named like a secret is hidden as a whole, elsewhere what addresses carry.
    """
    return {
        key: HIDDEN if _NAME.search(key.rpartition(".")[2]) and text else redacted(text) for key, text in values.items()
    }


def redacted_tree(value: Any) -> Any:
    """Return JSON content as it may be stored, by the same rules."""
    if isinstance(value, dict):
        return {
            key: HIDDEN if isinstance(item, str) and item and _NAME.search(str(key)) else redacted_tree(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [redacted_tree(item) for item in value]
    return redacted(value) if isinstance(value, str) else value
