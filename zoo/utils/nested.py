"""Nested dictionaries as flat ones."""

from collections.abc import Mapping
from typing import Any


def flatten_dict(nested: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """List the values of nested dictionaries by dotted names.

    Args:
        nested: dictionaries of dictionaries of values; whatever is no dictionary counts as a value.
        prefix: what every name starts with, without the dot.

    Returns:
        {dotted name: value}, in the order of the dictionaries; empty ones leave nothing.

    Example:
        >>> flatten_dict({"loss": {"name": "exact", "temperature": 0.07}, "epochs": 200})
        {'loss.name': 'exact', 'loss.temperature': 0.07, 'epochs': 200}
    """
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            flat |= flatten_dict(value, name)
        else:
            flat[name] = value
    return flat
