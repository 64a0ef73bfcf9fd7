"""Join the other processes of a training where there are no GPUs, which mmengine takes for granted."""

from __future__ import annotations

import os

import torch
from mmengine.config import Config
from torch import distributed

from ..errors import InputError

# What torchrun gives a process -> what slurm calls it.
SLURM_NAMES = {'RANK': 'SLURM_PROCID', 'LOCAL_RANK': 'SLURM_LOCALID', 'WORLD_SIZE': 'SLURM_NTASKS'}
DEFAULT_PORT = '29500'


def join(config: Config, launcher: str) -> None:
    """Set a config up for several processes, and join them over gloo if this machine has no GPU.

    Raises:
        InputError: the launcher's environment variables are not there.
    """
    config.launcher = launcher
    if launcher == 'none' or torch.cuda.is_available():
        return
    if launcher == 'slurm':
        _translate_slurm()
    names = (*SLURM_NAMES, 'MASTER_ADDR', 'MASTER_PORT')
    if missing := [name for name in names if name not in os.environ]:
        raise InputError(
            f'--launcher {launcher}: the environment variable {missing[0]} is not set; '
            'start with torchrun or with one of slurm_scripts/'
        )
    distributed.init_process_group('gloo')
    # mmengine would give the wrapper the number of a GPU.
    config.model_wrapper_cfg = {'type': 'MMDistributedDataParallel', 'device_ids': None}


def _translate_slurm() -> None:
    for name, theirs in SLURM_NAMES.items():
        if theirs in os.environ:
            os.environ.setdefault(name, os.environ[theirs])
    os.environ.setdefault('MASTER_PORT', DEFAULT_PORT)
    if os.environ.get('SLURM_NNODES', '1') == '1':
        os.environ.setdefault('MASTER_ADDR', '127.0.0.1')
