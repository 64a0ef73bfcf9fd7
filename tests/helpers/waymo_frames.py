"""Compare frames of Waymo."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest


def assert_same(found: Any, expected: Any, where: str = 'frame') -> None:
    """Every field of a frame is the same; numbers to a microsecond and to the last bit."""
    if is_dataclass(expected):
        for entry in fields(expected):
            assert_same(getattr(found, entry.name), getattr(expected, entry.name), f'{where}.{entry.name}')
    elif isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key, value in expected.items():
            assert_same(found[key], value, f'{where}[{key}]')
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), where
        for index, value in enumerate(expected):
            assert_same(found[index], value, f'{where}[{index}]')
    elif isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found, expected, err_msg=where)
    elif where.endswith('.timestamp') and where.count('.') == 1:  # of the frame itself
        assert found == pytest.approx(expected, abs=1e-6)
    else:
        assert found == expected, where
