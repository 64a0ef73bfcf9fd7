"""Every key of a config is read by something; others are refused, with the key that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from ..losses.subjects import HINT
from ..utils.errors import InputError, warn
from ..visualization.options import OTHER_SPELLINGS, PictureOptions
from .layers import Layer, is_within, overlap
from .sections import ANY_COMPONENT, LOSSES, TOP_LEVEL, Section, read_sections
from .suggestions import arguments, did_you_mean

# Settings that are options of a command instead.
COMMAND_OPTIONS = {
    'seed': '--seed',
    'amp': '--amp',
    'fp16': '--amp',
    'checkpoint': 'a checkpoint',
    'resume_from': '--resume CHECKPOINT',
    'auto_resume': '--resume',
}
# Sections of mmdetection3d before its version 1.1 -> their names since then.
FORMER_SECTIONS = {
    'data': 'train_dataloader, val_dataloader, test_dataloader',
    'runner': 'train_cfg',
    'total_epochs': 'train_cfg.max_epochs',
    'optimizer': 'optim_wrapper.optimizer',
    'optimizer_config': 'optim_wrapper.clip_grad',
    'lr_config': 'param_scheduler',
    'checkpoint_config': 'default_hooks.checkpoint',
    'log_config': 'default_hooks.logger',
    'evaluation': 'train_cfg.val_interval, val_evaluator',
    'dist_params': 'env_cfg.dist_cfg',
}
# So many known keys fit into a message.
MANY = 12


def check_keys(config: Config, layer: Layer) -> None:
    """Look at every section that is known here; what other classes do with theirs shows when they are built.

    Args:
        config: the whole config.
        layer: where its keys come from.

    Raises:
        InputError: keys that nothing reads, of which the message names the nearest right ones; a word for a switch.
    """
    sections = list(read_sections(config))
    _check_top_level(config, layer, sections)
    wrong = []
    for section in sections:
        for key in section.given:
            if key not in section.known:
                wrong.append(f'{key!r} of {section.path}{_hint(key, section, sections)}')
        for key in set(section.switches) & set(section.given):
            if isinstance(value := section.given[key], str):
                raise InputError(f'{config.filename}: {section.path}.{key} is {value!r}; give True or False')
    if wrong:
        raise InputError(f'{config.filename}: nothing reads these settings: {"; ".join(wrong)}; correct them')


def _check_top_level(config: Config, layer: Layer, sections: Iterable[Section]) -> None:
    """Check names at the top of a config: they are sections, or variables that the file that sets them reads.

    A variable of a base has done its work when a config that inherits from it, or the command line, changes it. A file
    without bases may keep private variables (``_NAME``): the configuration that a run leaves behind does.
    """
    for option in layer.said:
        if (first := option.partition('.')[0]) not in TOP_LEVEL:
            hint = _top_level_hint(first, sections)
            raise InputError(f'{config.filename}: nothing reads {first}, which the option {option} sets{hint}')
    for file in layer.files():
        private = set() if file.bases else {name for name in file.variables if name.startswith('_')}
        for name in sorted(set(file.variables) - TOP_LEVEL - set(file.reads) - private):
            hint = _top_level_hint(name, sections)
            raise InputError(
                f'{file.path}: nothing reads {name}{hint}; a variable changes nothing in the files '
                'that this one inherits from: set the key itself, or leave the variable away'
            )


def _top_level_hint(name: str, sections: Iterable[Section]) -> str:
    """Return the hint for a name that is no section of a config, or nothing."""
    if name in COMMAND_OPTIONS:
        return f'; give {COMMAND_OPTIONS[name]} to the command'
    if name in FORMER_SECTIONS:
        return f'; did you mean {FORMER_SECTIONS[name]}?'
    return _elsewhere(name, sections) or did_you_mean(name, TOP_LEVEL)


def _hint(key: str, section: Section, sections: Iterable[Section]) -> str:
    """Return the hint for a key that nothing reads in its section."""
    if section.path == 'train_cfg' and key in ('by_epoch', 'max_epochs', 'max_iters'):
        length = ', '.join(sorted({'max_epochs', 'max_iters'} & section.known))
        return f'; its type, {section.given.get("type")}, says what is counted: {length}'
    known = sorted(section.known - ANY_COMPONENT)
    if section.path == LOSSES and isinstance(loss := section.given[key], Mapping) and loss.get('type'):
        return f'{did_you_mean(key, known)}; for a loss of your own, {HINT}'
    return did_you_mean(key, known) or _elsewhere(key, sections, section.path) or f'; known: {", ".join(known[:MANY])}'


def _elsewhere(name: str, sections: Iterable[Section], near: str = '') -> str:
    """Return ``; did you mean KEY?`` for the dotted keys of other sections that end so, or nothing.

    Those within ``near`` come first, then those that are set, then those that are not deep.
    """
    found = [section for section in sections if name in section.known - ANY_COMPONENT]
    found.sort(
        key=lambda section: (not section.path.startswith(near), name not in section.given, section.path.count('.'))
    )
    keys = [f'{section.path}.{name}' for section in found]
    if near and keys and keys[0].startswith(f'{near}.'):
        keys = keys[:1]
    return f'; did you mean {", ".join(keys[:3])}{", ..." if len(keys) > 3 else ""}?' if keys else ''


# Commands that take the network and the test data from a config.
DATA_AND_NETWORK = (
    'model.network',
    'model.num_camera',
    'test_dataloader.dataset',
    'data_root',
    'cache',
    'depth_cache',
    'custom_imports',
)
# Commands that run the test loop.
RUN_BY_TESTS = (
    *('model', 'test_dataloader', 'data_root', 'cache', 'depth_cache', 'default_hooks', 'custom_hooks', 'visualizer'),
    'log_processor',
    *('log_level', 'env_cfg', 'randomness', 'experiment_name', 'default_scope', 'custom_imports', 'compile'),
)
# Keys of a model that say what is to be drawn.
PICTURES = tuple(f'model.{name}' for name in (*arguments(PictureOptions), *OTHER_SPELLINGS))


def warn_of_unread(options: Mapping[str, Any] | None, reads: Sequence[str], but: Sequence[str] = ()) -> None:
    """Warn of options of the command line that the command has no use for.

    Args:
        options: as given.
        reads: dotted keys of what the command reads.
        but: keys within those that it does not read.
    """
    idle = [
        option
        for option in options or ()
        if not any(overlap(option, key) for key in reads) or any(is_within(option, key) for key in but)
    ]
    if idle:
        warn(f'{", ".join(idle)}: this command does not read that; leave it away')
