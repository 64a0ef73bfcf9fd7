"""Which checkpoint a training goes on from, and whether it can."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import get_world_size

from ..models.checkpoint import HINT, checkpoints_in, read_checkpoint, require_training_state
from ..utils.errors import InputError, warn
from ..utils.files import is_folder

# Key in the ``meta`` of a checkpoint: the number of processes that trained it.
WORLD_SIZE = 'world_size'


def checkpoint_to_resume(resume: str, work_dir: Path) -> str | None:
    """Return the checkpoint that ``--resume`` means; ``None`` if there is none yet.

    Args:
        resume: a checkpoint, a folder of checkpoints, or ``auto`` for those in ``work_dir``.

    Raises:
        InputError: a folder without checkpoints, or none of them can be read.
    """
    if resume == 'auto':
        return newest_checkpoint(work_dir)
    folder = Path(resume)
    if not is_folder(folder):
        return resume
    found = newest_checkpoint(folder)
    if found is None:
        raise InputError(
            f'{folder}: holds no checkpoint iter_N.pth or epoch_N.pth to go on from; give the work folder of a run or '
            'a checkpoint, or leave --resume away to begin'
        )
    return found


def newest_checkpoint(work_dir: Path) -> str | None:
    """Return the checkpoint of a run that was trained longest; ``None`` if there is none.

    One from which training cannot go on, such as a damaged file, is left out with a warning.

    Raises:
        InputError: there are checkpoints, but none can be read.
    """
    pointer = work_dir / 'last_checkpoint'
    last = pointer.read_text().strip() if pointer.is_file() else None
    problem = None
    for path in checkpoints_in(work_dir):
        try:
            require_training_state(read_checkpoint(path), path)
        except InputError as error:
            warn(f'{error}; trying the checkpoint before it')
            problem = problem or error
            continue
        if problem is None and last and Path(last).name != path.name and (work_dir / Path(last).name).is_file():
            warn(
                f'{work_dir}: {Path(last).name} was written last, but {path.name} was trained longer: going on from '
                f'{path.name}; name the other one with --resume if that is meant'
            )
        return str(path)
    if problem is not None:
        raise problem
    return last  # gone, and the reader will say so


def go_on_from(config: Config, resume: str | None) -> bool:
    """Set a training to go on from a checkpoint.

    Args:
        config: of the training; its ``resume`` and ``load_from`` are set.
        resume: the checkpoint; ``None`` to begin anew.

    Returns:
        whether anything is left to train.

    Raises:
        InputError: training cannot go on from that file.
    """
    config.resume = resume is not None
    if resume is None:
        return True
    config.load_from = resume
    state = read_checkpoint(resume)
    require_resumable(config, state, resume)
    return not is_finished(config, state, resume)


def require_resumable(config: Config, state: Mapping[str, Any], path: str) -> None:
    """Check that a checkpoint fits the number of processes of this training.

    Raises:
        InputError: it holds weights alone, or its epochs have another number of iterations.
    """
    require_training_state(state, path)
    if not {'iter', 'epoch'} <= set(state['meta']):
        raise InputError(f'{path}: does not tell its iteration (meta.iter, meta.epoch); {HINT}')
    before, now = state['meta'].get(WORLD_SIZE), get_world_size()
    if before in (None, now):
        return
    if 'max_epochs' in config.train_cfg:
        raise InputError(
            f'{path}: was trained by {before} processes, this training has {now}, and its epochs have another number '
            f'of iterations; start {before} processes, or begin anew from its weights: --cfg-options load_from={path}'
        )
    warn(
        f'{path}: was trained by {before} processes, this training has {now}: an iteration sees another number of '
        'samples, so the weights will not be those of one training; optim_wrapper.accumulative_counts or '
        'train_dataloader.batch_size make up for it'
    )


def is_finished(config: Config, state: Mapping[str, Any], path: str) -> bool:
    """Return whether nothing is left to train after a checkpoint, with a warning if so."""
    key, unit = ('max_epochs', 'epoch') if 'max_epochs' in config.train_cfg else ('max_iters', 'iter')
    done, limit = state['meta'][unit], config.train_cfg[key]
    if done < limit:
        return False
    name = {'iter': 'iteration'}.get(unit, unit)
    warn(
        f'{path}: the run is finished, at {name} {done} of {limit}: nothing is trained; to go on, raise the limit with '
        f'--cfg-options train_cfg.{key}={done + max(1, limit // 2)} or more, or begin anew in another --work-dir'
    )
    return True
