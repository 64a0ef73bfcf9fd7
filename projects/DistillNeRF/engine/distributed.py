"""Join the other processes of a run, or give up after a while."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from torch import distributed

from ..utils.errors import InputError, warn
from .environment import require_launcher

# Who may start the processes, as --launcher names it.
LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
# What torchrun gives a process -> what slurm and Open MPI call it.
SLURM_NAMES = {'RANK': 'SLURM_PROCID', 'LOCAL_RANK': 'SLURM_LOCALID', 'WORLD_SIZE': 'SLURM_NTASKS'}
MPI_NAMES = {
    'RANK': 'OMPI_COMM_WORLD_RANK',
    'LOCAL_RANK': 'OMPI_COMM_WORLD_LOCAL_RANK',
    'WORLD_SIZE': 'OMPI_COMM_WORLD_SIZE',
}
DEFAULT_PORT = '29500'
# Seconds that a process waits for the others at the start.
PATIENCE = 120.0

T = TypeVar('T')


def join(config: Config, launcher: str, patience: float = PATIENCE) -> None:
    """Set a config up for several processes, and join them: over NCCL, or over gloo if this machine has no GPU.

    Args:
        config: of the run; it is changed.
        launcher: one of :data:`LAUNCHERS`.
        patience: seconds to wait for the other processes.

    Raises:
        InputError: the launcher is not what started this process, its environment variables are wrong, or another
            process does not come.
    """
    require_launcher(launcher)
    config.launcher = launcher
    _warn_of_unseen_gpus()
    if launcher == 'none':
        return
    if launcher == 'slurm':
        _translate(SLURM_NAMES, one_machine=os.environ.get('SLURM_NNODES', '1') == '1')
    if launcher == 'mpi':
        here = os.environ.get('OMPI_COMM_WORLD_LOCAL_SIZE')
        _translate(MPI_NAMES, one_machine=here == os.environ.get('OMPI_COMM_WORLD_SIZE'))
    rank, local_rank, world_size = _place(launcher)
    cuda = torch.cuda.is_available()
    if cuda and local_rank >= torch.cuda.device_count():
        raise InputError(
            f'LOCAL_RANK={local_rank}: this machine has {torch.cuda.device_count()} GPU(s) that torch sees; start as '
            'many processes per machine, or correct CUDA_VISIBLE_DEVICES'
        )
    store = _meet(rank, world_size, cuda, patience)
    if cuda:
        torch.cuda.set_device(local_rank)
    distributed.init_process_group('nccl' if cuda else 'gloo', store=store, rank=rank, world_size=world_size)
    if not cuda:
        # mmengine would give the wrapper the number of a GPU.
        config.model_wrapper_cfg = {'type': 'MMDistributedDataParallel', 'device_ids': None}


def leave() -> None:
    """Part from the other processes when the work is done; threads that still wait for them would abort the exit."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def chosen_by_main(choose: Callable[[], T]) -> T:
    """Return what the main process chooses; the others wait for its choice and look at nothing themselves.

    Raises:
        InputError: the main process raised it; every process raises the same.
    """
    answer: list[Any] = [None, None]
    if is_main_process():
        try:
            answer[0] = choose()
        except InputError as error:
            answer[1] = str(error)
    broadcast_object_list(answer)
    choice, problem = answer
    if problem is not None:
        raise InputError(problem)
    return choice


def _place(launcher: str) -> tuple[int, int, int]:
    """Return rank, rank on this machine, and number of processes.

    Raises:
        InputError: a variable is missing, no number, or out of range.
    """
    for name in (*SLURM_NAMES, 'MASTER_ADDR', 'MASTER_PORT'):
        if not os.environ.get(name):
            raise InputError(
                f'--launcher {launcher}: the environment variable {name} is not set; '
                + (
                    'set it to the name of the first machine (mpirun -x)'
                    if launcher == 'mpi'
                    else 'start with torchrun or with one of slurm_scripts/'
                )
            )
    for name in (*SLURM_NAMES, 'MASTER_PORT'):
        if not os.environ[name].isdigit():
            raise InputError(f'{name}={os.environ[name]!r} is no number; correct the environment variable')
    rank, local_rank, world_size = (int(os.environ[name]) for name in SLURM_NAMES)
    if rank >= world_size:
        raise InputError(f'RANK={rank}, but there are WORLD_SIZE={world_size} processes, from 0 on; correct them')
    if not 0 < int(os.environ['MASTER_PORT']) < 2**16:
        raise InputError(f'MASTER_PORT={os.environ["MASTER_PORT"]}: no such port; choose one from 1024 to 65535')
    return rank, local_rank, world_size


def _meet(rank: int, world_size: int, cuda: bool, patience: float) -> distributed.Store:
    """Wait for the other processes.

    Raises:
        InputError: the address is wrong or taken, a process does not come, or only some have a GPU.
    """
    place, wait = f'{os.environ["MASTER_ADDR"]}:{os.environ["MASTER_PORT"]}', timedelta(seconds=patience)
    try:
        # Without this, a wrong name is looked up again and again.
        socket.getaddrinfo(os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']))
        store, _, _ = next(distributed.rendezvous('env://', rank, world_size, timeout=wait))
        store.set(f'here/{rank}', 'a GPU' if cuda else 'no GPU')
        for other in range(world_size):
            store.wait([f'here/{other}'], wait)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(_why_alone(error, place, rank, world_size, patience)) from error
    kinds = [store.get(f'here/{other}').decode() for other in range(world_size)]
    if len(set(kinds)) > 1:
        told = ', '.join(f'process {number} has {kind}' for number, kind in enumerate(kinds))
        raise InputError(f'{told}: all must compute on the same kind; correct CUDA_VISIBLE_DEVICES')
    return store


def _why_alone(error: Exception, place: str, rank: int, world_size: int, patience: float) -> str:
    """Return what went wrong when processes were to meet at ``place``."""
    text = ' '.join(str(error).split())
    if 'EADDRINUSE' in text or 'ddress already in use' in text:
        return f'{place}: the port is taken; set MASTER_PORT (torchrun: --master-port) to one that is free'
    if isinstance(error, socket.gaierror):
        return f'{place}: there is no such machine ({error.strerror}); correct MASTER_ADDR'
    return (
        f'{place}: process {rank} of {world_size} waited {patience:.0f} s for the others in vain ({text[:150]}); start '
        f'all {world_size} processes (srun or torchrun does), and correct MASTER_ADDR and MASTER_PORT'
    )


def _translate(names: dict[str, str], one_machine: bool) -> None:
    """Give a launcher's variables the names of torchrun; they count more than what another launcher left there."""
    for name, theirs in names.items():
        if theirs in os.environ:
            os.environ[name] = os.environ[theirs]
    os.environ.setdefault('MASTER_PORT', DEFAULT_PORT)
    if one_machine:
        os.environ.setdefault('MASTER_ADDR', '127.0.0.1')


def _warn_of_unseen_gpus() -> None:
    """Warn if ``CUDA_VISIBLE_DEVICES`` names GPUs, but torch sees none: only the slowness would tell."""
    visible = os.environ.get('CUDA_VISIBLE_DEVICES', '')
    if visible.strip() not in ('', '-1') and not torch.cuda.is_available():
        warn(
            f'CUDA_VISIBLE_DEVICES={visible}, but torch sees no GPU and computes on the CPU; correct the variable, or '
            'the driver and the build of torch'
        )
