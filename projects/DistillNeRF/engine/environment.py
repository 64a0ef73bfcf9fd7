"""How this process was started, as its environment variables tell."""

from __future__ import annotations

import os

from ..utils.errors import InputError

# Variables by which MPI's launchers say how many processes there are; of them Open MPI's alone is a --launcher.
MPI_COUNTS = ('OMPI_COMM_WORLD_SIZE', 'PMI_SIZE', 'MV2_COMM_WORLD_SIZE')


def started_by_torchrun() -> bool:
    """Return whether torchrun, or what sets the same variables, started this process as one of several."""
    named = all(name in os.environ for name in ('RANK', 'WORLD_SIZE'))
    return named and _number('WORLD_SIZE') > 1


def started_by_srun() -> bool:
    """Return whether srun started this process as one of several."""
    if _slurm_tasks() < 2:
        return False
    return any(name in os.environ for name in ('SLURM_STEP_ID', 'SLURM_STEP_NUM_TASKS')) or _number('SLURM_PROCID') > 0


def started_by_mpi() -> str | None:
    """Return the variable by which mpirun says that this process is one of several; ``None`` if it does not."""
    return next((name for name in MPI_COUNTS if _number(name) > 1), None)


def require_one_process(launchers: bool = False) -> None:
    """Refuse to be one of several processes, which would all do the same and write the same files.

    Args:
        launchers: the command has the option ``--launcher``.

    Raises:
        InputError: this process is one of several.
    """
    starter = None
    if started_by_torchrun():
        starter = f'torchrun (WORLD_SIZE={os.environ["WORLD_SIZE"]})'
    elif started_by_srun():
        starter = f'srun ({_slurm_tasks()} tasks)'
    elif name := started_by_mpi():
        starter = f'mpirun ({name}={os.environ[name]})'
    if starter is not None:
        hint = 'or say with --launcher who started them' if launchers else 'as it is for one process'
        raise InputError(
            f'this is one of several processes that {starter} started, and all would write the same files; '
            f'start this command once, with python alone, {hint}'
        )


def require_launcher(launcher: str) -> None:
    """Check that the option ``--launcher`` names what started this process.

    Raises:
        InputError: it does not; the processes would not know of each other, or wait for ever.
    """
    if launcher == 'none':
        _require_alone()
    elif launcher == 'slurm':
        if 'TORCHELASTIC_RUN_ID' in os.environ:
            raise InputError('--launcher slurm: torchrun started this process; give --launcher pytorch')
        if 'SLURM_PROCID' not in os.environ:
            raise InputError(
                '--launcher slurm: the environment variable SLURM_PROCID is not set, so srun did not start '
                'this process; start with srun or with one of slurm_scripts/, or leave --launcher away'
            )
    elif launcher == 'mpi':
        if 'OMPI_COMM_WORLD_RANK' not in os.environ:
            raise InputError(
                "--launcher mpi: the environment variable OMPI_COMM_WORLD_RANK is not set, so Open MPI's mpirun did "
                'not start this process; start with mpirun, or with torchrun and --launcher pytorch'
            )
    elif started_by_srun() and not all(name in os.environ for name in ('RANK', 'WORLD_SIZE')):
        raise InputError('--launcher pytorch: srun started this process, not torchrun; give --launcher slurm')


def _require_alone() -> None:
    """Raise an :class:`InputError` if this process is one of several."""
    if started_by_torchrun():
        raise InputError(
            f'torchrun started {os.environ["WORLD_SIZE"]} processes (WORLD_SIZE), but without --launcher each would '
            'train alone and write the same files; add --launcher pytorch, or start with python'
        )
    # A batch script has SLURM_PROCID=0 as well: tasks that were asked for would stand idle.
    if 'SLURM_PROCID' in os.environ and (tasks := _slurm_tasks()) > 1:
        raise InputError(
            f'slurm has {tasks} tasks for this (SLURM_NTASKS), but without --launcher each would train alone and write '
            'the same files; start with srun and --launcher slurm, or one process with srun --ntasks=1'
        )
    if name := started_by_mpi():
        raise InputError(
            f'mpirun started {os.environ[name]} processes ({name}), but without --launcher each would train alone and '
            'write the same files; add --launcher mpi (Open MPI), or start with torchrun and --launcher pytorch'
        )


def _slurm_tasks() -> int:
    return _number('SLURM_STEP_NUM_TASKS') or _number('SLURM_NTASKS')


def _number(name: str) -> int:
    """Return the value of a variable; 0 if it is missing or no number."""
    text = os.environ.get(name, '')
    return int(text) if text.isdigit() else 0
