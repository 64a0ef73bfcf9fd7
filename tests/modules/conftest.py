"""Fixtures of the tests of the building blocks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture(scope='session')
def unit(shared_dir: Path) -> Callable[[str], torch.Tensor]:
    """Published unit vectors by name (parity notes, section 9)."""
    archive = np.load(shared_dir / 'parity/public/unit.npz')

    def load(name: str) -> torch.Tensor:
        return torch.from_numpy(archive[name])

    return load
