"""Nested dictionaries as flat ones."""

from collections.abc import Mapping
from typing import Any

MAX_NAME = 1000
"""Characters of a dotted name."""


def flatten_dict(nested: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """List the values of nested dictionaries by dotted names.

    Args:
        nested: dictionaries of dictionaries of values; whatever is no dictionary counts as a value.
        prefix: what every name starts with, without the dot.

    Returns:
        {dotted name: value}, in the order of the dictionaries; empty ones leave nothing.

    Raises:
        ValueError: for a name of more than 1000 characters: a small file could hold many such.

    Example:
        >>> flatten_dict({"loss": {"name": "exact", "temperature": 0.07}, "epochs": 200})
        {'loss.name': 'exact', 'loss.temperature': 0.07, 'epochs': 200}
    """
    flat: dict[str, Any] = {}
    _flatten(nested, prefix, flat)
    return flat


def _flatten(nested: Mapping[Any, Any], prefix: str, flat: dict[str, Any]) -> None:
    for key, value in nested.items():
        name = dotted(prefix, key)
        if isinstance(value, Mapping):
            _flatten(value, name, flat)
        else:
            flat[name] = value


def dotted(prefix: str, key: object) -> str:
    """Join a name and a key of what it names.

    Raises:
        ValueError: for more than 1000 characters.
    """
    name = f"{prefix}.{key}" if prefix else str(key)
    if len(name) > MAX_NAME:
        raise ValueError(f"a name of {len(name)} characters, {name[:40]!r}…; at most {MAX_NAME}")
    return name
