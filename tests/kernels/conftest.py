"""The Triton kernels against the torch path: in Triton's interpreter, or on a GPU with ``--device cuda``."""

from __future__ import annotations

import importlib.util
import os

import pytest

# Tests of an optional package.
collect_ignore_glob = [] if importlib.util.find_spec('triton') else ['test_*.py']


def pytest_configure(config: pytest.Config) -> None:
    """Choose the interpreter, which Triton does when a kernel's file is imported."""
    if config.getoption('--device') == 'cpu':
        os.environ['TRITON_INTERPRET'] = '1'
