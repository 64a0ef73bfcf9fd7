"""The checkpoints of a run in their order: that of the iterations, whatever the clock says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import torch

from ..utils.torch_files import allow_mmengine_checkpoints

_NAME = re.compile(r'(iter|epoch)_(\d+)\.pth')


def checkpoints_in(folder: Path) -> list[Path]:
    """``iter_N.pth`` and ``epoch_N.pth`` of a folder, the one that was trained longest first.

    Their numbers decide. Where there are both kinds, the iterations that the files tell decide; a file that tells
    none comes last.
    """
    numbered = {path: match for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    one_kind = len({match[1] for match in numbered.values()}) == 1
    order = {path: int(match[2]) if one_kind else iteration(path) for path, match in numbered.items()}
    return sorted(numbered, key=lambda path: (order[path], path.name), reverse=True)


def iteration(path: Path) -> int:
    """The number of iterations that a checkpoint was trained; -1 if it does not tell.

    Only what is beside the tensors is read.
    """
    if importlib.util.find_spec('mmengine'):
        allow_mmengine_checkpoints()
    try:
        state = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
        return int(state['meta']['iter'])
    except Exception:  # a damaged file can raise nearly anything; who reads it whole says so
        return -1
