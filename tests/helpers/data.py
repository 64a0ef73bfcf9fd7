"""What the tests are given: the vectors and pictures in ``tests/data``, and the larger ones beside the repository."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SHIPPED, SHARED = ROOT / 'tests/data', ROOT.parent / 'shared'


@dataclass(frozen=True)
class PandaSet:
    """PandaSet 002.

    Attributes:
        step: distance of keyframes with LiDAR, in frames.
        pair: the first of two keyframes that follow each other, and the second.
        train, val: frames for a short training.
        sweeps: ``lidar_sweeps`` of that training; frames 0.5 s apart are no sweeps of each other.
    """

    root: Path
    step: int
    pair: tuple[int, int]
    train: tuple[int, int]
    val: tuple[int, int]
    sweeps: int


PARITY = {'shipped': SHIPPED / 'parity'}
PANDASET = {'shipped': PandaSet(SHIPPED / 'pandaset', step=1, pair=(0, 1), train=(0, 1), val=(2, 3), sweeps=1)}
if SHARED.is_dir():
    PARITY['shared'] = SHARED / 'parity/public'
    PANDASET['shared'] = PandaSet(
        SHARED / 'data/pandaset', step=5, pair=(40, 45), train=(28, 32), val=(60, 61), sweeps=2
    )


def published_checkpoint(variant: str) -> tuple[dict[str, Any], int]:
    """The entries of a published checkpoint and its number of trained parameters.

    Returns:
        name -> (shape, dtype, ``P`` for a parameter or ``B`` for a buffer), and the number.
    """
    known = json.loads((SHIPPED / 'parity/checkpoint_format.json').read_text())
    own = known['variants'][variant]
    return known['common'] | own['keys'], own['trainable']


def frozen_extractor_entries() -> dict[str, Any]:
    """Name -> (shape, dtype) of the frozen depth network in a published checkpoint."""
    return json.loads((SHIPPED / 'parity/checkpoint_format.json').read_text())['frozen_extractor']
