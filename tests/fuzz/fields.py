"""Every field of a nested value, by its keys from the outside in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

Keys = tuple[Any, ...]


class Removed:
    """In place of a value: take the field away."""


REMOVED = Removed()


def is_number(value: Any) -> bool:
    """An int or a float."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_numeric(value: Any) -> bool:
    """A list of numbers, or of lists of them."""
    return isinstance(value, list) and bool(value) and all(is_number(entry) or is_numeric(entry) for entry in value)


def walk(value: Any, keys: Keys = ()) -> Iterator[Keys]:
    """Keys of every field in and below ``value``; lists of numbers, arrays and columns of tables are one field."""
    if keys:
        yield keys
    if isinstance(value, (dict, pd.DataFrame)):
        for key in value:
            yield from walk(value[key], (*keys, key))
    elif isinstance(value, list) and (not is_numeric(value) or (len(value) > 4 and is_number(value[0]))):
        for index, entry in enumerate(value):
            yield from walk(entry, (*keys, index))


def get(value: Any, keys: Keys) -> Any:
    """The field at ``keys``."""
    for key in keys:
        value = value[key]
    return value


def put(value: Any, keys: Keys, new: Any) -> Any:
    """``value`` with ``new`` at ``keys``, changed in place; :data:`REMOVED` takes the field away."""
    if not keys:
        return new
    parent = get(value, keys[:-1])
    if new is REMOVED:
        del parent[keys[-1]]
    else:
        parent[keys[-1]] = new
    return value


def pattern(keys: Keys) -> str:
    """What the fields of all records of a list have in common."""
    known = (
        '*' if isinstance(key, int) or 'images' in keys[max(0, at - 1) : at] else str(key)
        for at, key in enumerate(keys)
    )
    return '.'.join(known)


def file_pattern(name: str) -> str:
    """The same for the names of files that differ in numbers only."""
    return re.sub(r'\d+', '#', name)
