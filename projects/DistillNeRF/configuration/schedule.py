"""The length of a training: what is stretched with it, and what does not fit into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from ..utils.errors import InputError, warn
from .layers import Layer, value_of

# Lengths of the schedules of mmengine, in the unit of the schedule.
LENGTHS = ('begin', 'end', 'T_max', 'step_size', 'total_steps', 'milestones', 'periods')
UNITS = {'max_iters': 'iterations', 'max_epochs': 'epochs'}


def stretch(config: Config, layer: Layer) -> None:
    """Stretch what was made for the former length of a training to its new length.

    These are the validation interval and the schedules of the learning rate. One that is given in the same file as the
    new length, or in a file over it, stays. Intervals of log and checkpoints that are longer than the training become
    its length.

    Args:
        config: the whole config; it is changed.
        layer: where its keys come from.
    """
    key = _length_key(config)
    if key is None:
        return
    length = config.train_cfg[key] = int(config.train_cfg[key])
    for name in ('val_interval', 'val_begin'):
        value, old = config.train_cfg.get(name), _length_at(layer.origin(f'train_cfg.{name}', by_name=True), key)
        if isinstance(value, int) and value > 0 and old is not None:
            config.train_cfg[name] = max(1, round(value * length / old))
    _stretch_schedules(config, layer, key, length)
    place = layer.origin(f'train_cfg.{key}', by_name=True)
    for hook in ('logger', 'checkpoint') if key == 'max_iters' else ():
        path = f'default_hooks.{hook}.interval'
        interval = value_of(config, path)
        if isinstance(interval, int) and interval > length and place.inherits(layer.origin(path)):
            config.default_hooks[hook].interval = length


def _length_key(config: Mapping[str, Any]) -> str | None:
    """Return ``max_iters`` or ``max_epochs``, whichever the training is counted in; ``None`` for neither."""
    loop = config.get('train_cfg')
    return next((key for key in UNITS if _is_whole(value_of(config, f'train_cfg.{key}'))), None) if loop else None


def _is_whole(value: Any) -> bool:
    """Return whether a number is whole: 1500, or 1.5e3."""
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _length_at(layer: Layer, key: str) -> int | None:
    """Return how long the training is as a layer sees it."""
    length = value_of(layer.merged, f'train_cfg.{key}')
    return length if isinstance(length, int) and length > 0 else None


def _stretch_schedules(config: Config, layer: Layer, key: str, length: int) -> None:
    """Stretch the schedules of the learning rate, unless the command line gives a length of one."""
    schedules = _schedules(config)
    if not schedules or any(_is_length(option) for option in layer.said):
        return
    # Options of another kind leave the lengths as they are.
    old = _length_at(layer.bases[0].origin('param_scheduler'), key)
    if old is None or old == length:
        return
    stretched = []
    for schedule in schedules:
        if _counts_epochs(schedule) == (key == 'max_epochs'):
            _stretch_one(schedule, length / old)
            if schedule.get('end') is not None and schedule['end'] <= schedule.get('begin', 0):
                continue  # a warm-up of less than half an iteration
        stretched.append(schedule)
    config.param_scheduler = stretched


def _schedules(config: Config) -> list[dict[str, Any]]:
    """Return the schedules of the learning rate, none to several."""
    schedules = config.get('param_scheduler') or []
    return schedules if isinstance(schedules, list) else [schedules]


def _is_length(option: str) -> bool:
    """Return whether an option of the command line says how long a schedule is."""
    names = option.split('.')
    return names[0] == 'param_scheduler' and (names[-1] in LENGTHS or names[-1].isdigit() or len(names) == 1)


def _stretch_one(schedule: dict[str, Any], ratio: float) -> None:
    """Multiply all lengths of a schedule by a ratio."""
    begin, end = schedule.get('begin', 0), schedule.get('end')
    whole = end is not None and schedule.get('T_max') == end - begin
    for name in set(LENGTHS) & set(schedule):
        value = schedule[name]
        if isinstance(value, list | tuple):
            schedule[name] = [max(1, round(part * ratio)) for part in value]
        elif isinstance(value, int):
            schedule[name] = round(value * ratio) if name in ('begin', 'end') else max(1, round(value * ratio))
    if whole:
        schedule['T_max'] = max(1, schedule['end'] - schedule.get('begin', 0))


def _counts_epochs(schedule: Mapping[str, Any]) -> bool:
    """Return whether a schedule counts epochs rather than iterations."""
    return bool(schedule.get('by_epoch', True))


def check_schedule(config: Config) -> None:
    """Check that everything in the config can happen within the length of the training.

    What begins after its end is a warning.

    Raises:
        InputError: no length or interval, or something is counted in another unit than the training, so that it would
            do nothing.
    """
    key = _length_key(config)
    if key is None:
        return
    length, unit = config.train_cfg[key], UNITS[key]
    if length < 1:
        raise InputError(f'{config.filename}: train_cfg.{key} is {length}; give 1 or more')
    if (interval := config.train_cfg.get('val_interval', 1)) < 1:
        raise InputError(
            f'{config.filename}: train_cfg.val_interval is {interval}; give 1 or more, or for no validation '
            'val_dataloader=None val_cfg=None val_evaluator=None'
        )
    for problem in _other_unit(config, key):
        raise InputError(f'{config.filename}: {problem}')
    for late in _too_late(config, length, key):
        warn(f'{config.filename}: {late}, but the training ends after {length} {unit}: it never happens')


def _other_unit(config: Config, key: str) -> Iterator[str]:
    """Yield what counts in another unit than the training, with the hint."""
    for number, schedule in enumerate(_schedules(config)):
        if key == 'max_iters' and _counts_epochs(schedule) and not schedule.get('convert_to_iter_based'):
            yield (
                f'param_scheduler.{number} ({schedule.get("type")}) counts epochs, but the training counts '
                'iterations, so that it would never act; give it by_epoch=False'
            )
    sampler = value_of(config, 'train_dataloader.sampler.type')
    if key == 'max_epochs' and sampler == 'InfiniteSampler':
        yield (
            'train_dataloader.sampler is an InfiniteSampler, but the training counts epochs, and one would never end; '
            'set train_dataloader.sampler.type=DefaultSampler'
        )
    if key == 'max_iters' and value_of(config, 'default_hooks.checkpoint.by_epoch') is True:
        yield (
            'default_hooks.checkpoint counts epochs, but the training counts iterations, so that nothing would be '
            'saved before the end; set default_hooks.checkpoint.by_epoch=False'
        )


def _too_late(config: Config, length: int, key: str) -> Iterator[str]:
    """Yield what begins after the end of the training."""
    if config.get('val_cfg') is not None and (begin := config.train_cfg.get('val_begin') or 1) > length:
        yield f'train_cfg.val_begin is {begin}'
    for number, schedule in enumerate(_schedules(config)):
        starts = [schedule.get('begin', 0), *(schedule.get('milestones') or [0])[:1]]
        if _counts_epochs(schedule) == (key == 'max_epochs') and max(starts) >= length:
            yield f'param_scheduler.{number} ({schedule.get("type")}) begins at {max(starts)}'


def warn_of_late_losses(config: Config, losses: Mapping[str, Any], length: int) -> None:
    """Warn of losses whose first iteration (``start``) a training of ``length`` iterations does not reach."""
    for name, loss in losses.items():
        if (start := getattr(loss, 'start', 0)) >= length:
            warn(
                f'{config.filename}: model.losses.{name} counts from iteration {start} on, but the training ends after '
                f'{length}: it does nothing; set model.losses.{name}.start'
            )
