"""Every key of a config is read by something; others are refused, with the key that was probably meant."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from mmdet3d import registry
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import Registry
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.utils import import_modules_from_strings
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import DataLoader

from ..geometry.contraction import ParameterizedSpace
from ..losses.subjects import HINT, NAMES, subject_of
from ..models.network import DistillNeRF
from ..modules.coarse_depth import CoarseDepthNet
from ..modules.decoder import ColorDecoder
from ..modules.fine_depth import FineDepthNet
from ..modules.heads import FeatureHead
from ..modules.renderer import RaySampling
from ..modules.sparse_conv import SparseVoxelNet
from ..utils.errors import InputError
from ..visualization.options import OTHER_SPELLINGS, PictureOptions
from .options import DATASET, LOADERS, SWITCHES, datasets
from .suggestions import arguments, did_you_mean, switches

# What mmengine's runner asks a whole config for beside its own arguments.
OF_RUNNER = (
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
)
TOP_LEVEL = {*arguments(Runner), *OF_RUNNER, *SWITCHES, 'data_root'} - {'cfg'}
# What a command of that kind reads of a config.
DATA_AND_NETWORK = ('model.network', 'model.num_camera', 'test_dataloader.dataset', 'data_root', 'custom_imports')
RUN_BY_TESTS = (
    *('model', 'test_dataloader', 'data_root', 'default_hooks', 'custom_hooks', 'visualizer', 'log_processor'),
    *('log_level', 'env_cfg', 'randomness', 'experiment_name', 'default_scope', 'custom_imports', 'compile'),
)
# Keys of a model that say what is to be drawn.
PICTURES = tuple(f'model.{name}' for name in (*arguments(PictureOptions), *OTHER_SPELLINGS))
NETWORK = {
    'space': ParameterizedSpace,
    'coarse': CoarseDepthNet,
    'fine': FineDepthNet,
    'voxel': SparseVoxelNet,
    'sampling': RaySampling,
}
LOSSES = 'model.losses'
HEADS = {'color': ColorDecoder, 'feature': FeatureHead}
# ``shuffle`` is the sampler's, everywhere in these configs.
OF_LOADER = arguments(DataLoader) - {'shuffle'} | {'num_batch_per_epoch', 'disable_subprocess_warning'}
PREFIXES = {'img', 'lidar', 'teacher', 'truth', 'features'}
PARAMWISE = {
    'custom_keys',
    'bias_lr_mult',
    'bias_decay_mult',
    'norm_decay_mult',
    'flat_decay_mult',
    'dwconv_decay_mult',
    'dcn_offset_lr_mult',
    'bypass_duplicate',
}
CLIPPING = {'norm': torch.nn.utils.clip_grad_norm_, 'value': torch.nn.utils.clip_grad_value_}
# Those of mmengine; another one is known by its type.
USUAL_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
ANY_COMPONENT = {'type', '_scope_'}
MANY = 12
# What is no setting, but an option of a command.
OF_COMMANDS = {
    'seed': '--seed',
    'amp': '--amp',
    'fp16': '--amp',
    'checkpoint': 'a checkpoint',
    'resume_from': '--resume CHECKPOINT',
    'auto_resume': '--resume',
}
# Sections of mmdetection3d before its version 1.1.
OLD_SECTIONS = {
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
# What the runner gives to what it builds.
GIVEN = {'runner', 'dataloader', 'evaluator'}


@dataclass(frozen=True)
class Section:
    """A part of a config.

    Attributes:
        path: its dotted key.
        given: what it holds.
        known: keys that something reads.
        switches: those of them that are True or False.
    """

    path: str
    given: Mapping[str, Any]
    known: set[str]
    switches: Collection[str] = ()


def check_keys(config: Config) -> None:
    """Look at every section that is known here; what other classes do with theirs shows when they are built.

    Raises:
        InputError: keys that nothing reads, of which the message names the nearest right ones; a word for a switch.
    """
    sections = list(_sections(config))
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


def meant_key(name: str, config: Config) -> str:
    """The hint for a name that is no section of a config, or nothing."""
    if name in OF_COMMANDS:
        return f'; give {OF_COMMANDS[name]} to the command'
    if name in OLD_SECTIONS:
        return f'; did you mean {OLD_SECTIONS[name]}?'
    return _elsewhere(name, list(_sections(config))) or did_you_mean(name, TOP_LEVEL)


def _hint(key: str, section: Section, sections: Iterable[Section]) -> str:
    if section.path == 'train_cfg' and key in ('by_epoch', 'max_epochs', 'max_iters'):
        length = ', '.join(sorted({'max_epochs', 'max_iters'} & section.known))
        return f'; its type, {section.given.get("type")}, says what is counted: {length}'
    known = sorted(section.known - ANY_COMPONENT)
    if section.path == LOSSES and _get(section.given[key], 'type'):
        return f'{did_you_mean(key, known)}; for a loss of your own, {HINT}'
    return did_you_mean(key, known) or _elsewhere(key, sections, section.path) or f'; known: {", ".join(known[:MANY])}'


def _elsewhere(name: str, sections: Iterable[Section], near: str = '') -> str:
    """``; did you mean KEY?`` for the dotted keys of other sections that end so.

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


def _sections(config: Config) -> Iterator[Section]:
    """All sections whose keys are known."""
    yield from _model(config.get('model'))
    for loader in LOADERS:
        yield from _loader(loader, config.get(loader))
    yield from _training(config)
    for name in ('val_cfg', 'test_cfg'):
        usual = {'val_cfg': 'ValLoop', 'test_cfg': 'TestLoop'}[name]
        yield from _component(name, config.get(name), registry.LOOPS, usual)
    hooks = _mapping(config.get('default_hooks'))
    nameless = {name: hook for name, hook in hooks.items() if isinstance(hook, Mapping) and 'type' not in hook}
    yield Section('default_hooks', nameless, {*hooks} - {*nameless} | {*USUAL_HOOKS})
    for name, hook in _items('default_hooks', config.get('default_hooks')):
        yield from _component(name, hook, registry.HOOKS, extra={'priority'})
    for name, hook in _items('custom_hooks', config.get('custom_hooks')):
        yield from _component(name, hook, registry.HOOKS, extra={'priority'})
    for name in ('val_evaluator', 'test_evaluator'):
        yield from _evaluator(name, config.get(name))
    yield from _component('visualizer', visualizer := config.get('visualizer'), registry.VISUALIZERS, 'Visualizer')
    for name, backend in _items('visualizer.vis_backends', _get(visualizer, 'vis_backends')):
        yield from _component(name, backend, registry.VISBACKENDS)
    yield from _component('log_processor', config.get('log_processor'), registry.LOG_PROCESSORS, 'LogProcessor')
    yield from _environment(config)


def _model(model: Any) -> Iterator[Section]:
    yield from _component('model', model, registry.MODELS)
    if network := _plain('model.network', _get(model, 'network'), arguments(DistillNeRF)):
        yield network
        for name, part in NETWORK.items():
            if section := _plain(f'model.network.{name}', network.given.get(name), arguments(part)):
                yield section
        head = network.given.get('head')
        if (kind := HEADS.get(_get(head, 'type') or 'color')) and (
            section := _plain('model.network.head', head, arguments(kind) | {'type', 'channels'})
        ):
            yield section
    yield from _losses(_get(model, 'losses'))
    yield from _component('model.data_preprocessor', _get(model, 'data_preprocessor'), registry.MODELS)


def _losses(losses: Any) -> Iterator[Section]:
    """Yield the sections of the losses: those of known names, and those that say what they are computed on."""
    if not isinstance(losses, Mapping):
        return
    own = {name for name, loss in losses.items() if name not in NAMES and _says_subject(loss)}
    yield Section(LOSSES, losses, set(NAMES) | own)
    for name, loss in losses.items():
        yield from _component(f'{LOSSES}.{name}', loss, registry.MODELS, extra={'compares'} if name in own else ())


def _says_subject(loss: Any) -> bool:
    """Return whether a loss says what it is computed on; a class that is not known is refused when it is built."""
    kind = _get(loss, 'type')
    if kind is None:
        return False
    built = _find(registry.MODELS, kind)
    return built is None or 'compares' in loss or subject_of('', built) is not None


def _loader(path: str, loader: Any) -> Iterator[Section]:
    if section := _plain(path, loader, OF_LOADER):
        yield section
        for name in ('sampler', 'batch_sampler'):
            yield from _component(f'{path}.{name}', loader.get(name), registry.DATA_SAMPLERS)
        yield from _component(f'{path}.dataset', loader.get('dataset'), registry.DATASETS)
    for place, dataset in datasets(path, loader):
        if place != f'{path}.dataset':
            yield from _component(place, dataset, registry.DATASETS)
        if dataset.get('type') == DATASET and (
            section := _plain(f'{place}.data_prefix', dataset.get('data_prefix'), PREFIXES)
        ):
            yield section
        for name, transform in _items(f'{place}.pipeline', dataset.get('pipeline')):
            yield from _component(name, transform, registry.TRANSFORMS)


def _training(config: Config) -> Iterator[Section]:
    loop = config.get('train_cfg')
    if isinstance(loop, Mapping) and 'type' not in loop:
        kind = EpochBasedTrainLoop if loop.get('by_epoch') else IterBasedTrainLoop
        yield Section('train_cfg', loop, arguments(kind) - GIVEN | {'by_epoch'})
    else:
        yield from _component('train_cfg', loop, registry.LOOPS)
    wrapper = config.get('optim_wrapper')
    extra = {'constructor', 'paramwise_cfg'}
    yield from _component('optim_wrapper', wrapper, registry.OPTIM_WRAPPERS, 'OptimWrapper', extra)
    yield from _component('optim_wrapper.optimizer', _get(wrapper, 'optimizer'), registry.OPTIMIZERS)
    clip = _get(wrapper, 'clip_grad')
    if (function := CLIPPING.get(_get(clip, 'type') or 'norm')) and (
        section := _plain('optim_wrapper.clip_grad', clip, arguments(function) - {'parameters'} | {'type'})
    ):
        yield section
    if not _get(wrapper, 'constructor') and (
        section := _plain('optim_wrapper.paramwise_cfg', _get(wrapper, 'paramwise_cfg'), PARAMWISE)
    ):
        yield section
        for name, part in _items('optim_wrapper.paramwise_cfg.custom_keys', section.given.get('custom_keys')):
            if custom := _plain(name, part, {'lr_mult', 'decay_mult'}):
                yield custom
    for name, scheduler in _items('param_scheduler', config.get('param_scheduler')):
        yield from _component(name, scheduler, registry.PARAM_SCHEDULERS, extra={'convert_to_iter_based'})


def _evaluator(path: str, evaluator: Any) -> Iterator[Section]:
    if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        yield Section(path, evaluator, arguments(Evaluator) | ANY_COMPONENT)
        path, evaluator = f'{path}.metrics', evaluator['metrics']
    if isinstance(evaluator, Mapping):
        yield from _component(path, evaluator, registry.METRICS)
    for name, metric in _items(path, evaluator if isinstance(evaluator, list) else None):
        yield from _component(name, metric, registry.METRICS)


def _environment(config: Config) -> Iterator[Section]:
    """Sections that mmengine reads key by key."""
    known = {
        'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
        'env_cfg.mp_cfg': arguments(set_multi_processing) - {'distributed'},
        'randomness': arguments(Runner.set_randomness) - {'self'},
        'auto_scale_lr': {'enable', 'base_batch_size'},
        'custom_imports': arguments(import_modules_from_strings),
    }
    for path, keys in known.items():
        first, _, second = path.partition('.')
        given = config.get(first)
        yield Section(path, _mapping(_get(given, second) if second else given), keys)


def _component(
    path: str, given: Any, kinds: Registry, usual: str | None = None, extra: Iterable[str] = ()
) -> Iterator[Section]:
    """What is built from a registry: its class says what is read; nothing, if the class is not known."""
    built = _find(kinds, _get(given, 'type') or usual)
    if isinstance(given, Mapping) and built is not None and (known := arguments(built)) is not None:
        yield Section(path, given, known - GIVEN | ANY_COMPONENT | set(extra), switches(built))


def _find(kinds: Registry | None, name: Any) -> Callable | None:
    """The class of that name; unlike ``Registry.get``, nothing is imported for it."""
    while isinstance(name, str) and kinds is not None:
        if name in kinds.module_dict:
            return kinds.module_dict[name]
        kinds = kinds.parent
    return name if inspect.isclass(name) else None


def _plain(path: str, given: Any, known: set[str]) -> Section | None:
    return Section(path, given, known) if isinstance(given, Mapping) else None


def _items(path: str, given: Any) -> Iterator[tuple[str, Any]]:
    """The members of a dictionary or list, with their dotted keys."""
    members = given.items() if isinstance(given, Mapping) else enumerate(given if isinstance(given, list) else ())
    for name, value in members:
        yield f'{path}.{name}', value


def _get(given: Any, key: str) -> Any:
    return given.get(key) if isinstance(given, Mapping) else None


def _mapping(given: Any) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {}
