"""Checks of numbers in the config of a field."""

from __future__ import annotations

import math
from typing import Any

from ..utils.errors import InputError


def check_number(
    name: str, value: Any, least: float | None = None, above: float | None = None, whole: bool = False
) -> None:
    """Refuse what cannot be right.

    Args:
        name: dotted key of the setting.
        value: what the config says.
        least: smallest value that is right.
        above: what a right value is larger than.
        whole: whether it must be a whole number.

    Raises:
        InputError: names the setting.
    """
    kinds = int if whole else (int, float)
    right = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    if right and (least is None or value >= least) and (above is None or value > above):
        return
    what = 'a whole number' if whole else 'a number'
    bound = f' from {least:g} on' if least is not None else f' above {above:g}' if above is not None else ''
    raise InputError(f'{name} is {value!r}; give {what}{bound}')
