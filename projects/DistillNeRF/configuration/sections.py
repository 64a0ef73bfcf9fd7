"""Which keys each section of a config may have: those that something reads."""

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

from ..foundation_models.text import WordSettings
from ..geometry.contraction import ParameterizedSpace
from ..losses.subjects import NAMES, subject_of
from ..models.network import DistillNeRF
from ..modules.coarse_depth import CoarseDepthNet
from ..modules.decoder import ColorDecoder
from ..modules.depth_bins import LogBins
from ..modules.fine_depth import FineDepthNet
from ..modules.heads import FeatureHead
from ..modules.renderer import RaySampling
from ..modules.sparse_conv import SparseVoxelNet
from .layers import value_of
from .options import DATASET, LOADERS, datasets
from .suggestions import arguments, switches
from .switches import SWITCHES

# Sections that mmengine's runner reads of a whole config beside its own arguments.
READ_BY_RUNNER = (
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
)
TOP_LEVEL = {*arguments(Runner), *READ_BY_RUNNER, *SWITCHES, 'data_root', 'cache', 'depth_cache', 'scene_nerf'} - {
    'cfg'
}
# Keys that every component may have, and arguments of components that the runner gives to them.
ANY_COMPONENT = {'type', '_scope_'}
GIVEN_BY_RUNNER = {'runner', 'dataloader', 'evaluator'}
LOSSES = 'model.losses'


@dataclass(frozen=True)
class Section:
    """A part of a config.

    Attributes:
        path: its dotted key.
        given: the keys that it has, with their values.
        known: keys that something reads.
        switches: those of them that are True or False.
    """

    path: str
    given: Mapping[str, Any]
    known: set[str]
    switches: Collection[str] = ()


# The known keys of a section: a set, or a function of the section that returns them and the switches among them, or
# ``None`` if they are not known here.
Found = tuple[set[str], Collection[str]] | None
Rule = set[str] | Callable[[Mapping[str, Any]], Found]


def component(kinds: Registry, usual: str | None = None, extra: Iterable[str] = ()) -> Rule:
    """Return the rule of what is built from a registry: its class says what is read.

    Args:
        kinds: the registry.
        usual: name of the class where the section has no ``type``.
        extra: more keys, which others read.
    """

    def rule(given: Mapping[str, Any]) -> Found:
        built = _find(kinds, given.get('type') or usual)
        known = None if built is None else arguments(built)
        return None if known is None else (known - GIVEN_BY_RUNNER | ANY_COMPONENT | set(extra), switches(built))

    return rule


def _find(kinds: Registry | None, name: Any) -> Callable | None:
    """Return the class of that name; unlike ``Registry.get``, nothing is imported for it."""
    while isinstance(name, str) and kinds is not None:
        if name in kinds.module_dict:
            return kinds.module_dict[name]
        kinds = kinds.parent
    return name if inspect.isclass(name) else None


def _head(given: Mapping[str, Any]) -> Found:
    kind = {'color': ColorDecoder, 'feature': FeatureHead}.get(given.get('type') or 'color')
    return None if kind is None else (arguments(kind) | {'type', 'channels'}, ())


def _loss_rules(losses: Any) -> dict[str, Rule]:
    """Return the rules of the losses: those of known names, and those that say what they are computed on."""
    losses = losses if isinstance(losses, Mapping) else {}
    own = {name for name, loss in losses.items() if name not in NAMES and _says_subject(loss)}
    more = {name: {'compares'} if name in own else () for name in losses}
    return {'': {*NAMES, *own}, **{name: component(registry.MODELS, extra=more[name]) for name in losses}}


def _says_subject(loss: Any) -> bool:
    """Return whether a loss says what it is computed on; a class that is not known is refused when it is built."""
    kind = loss.get('type') if isinstance(loss, Mapping) else None
    if kind is None:
        return False
    built = _find(registry.MODELS, kind)
    return built is None or 'compares' in loss or subject_of('', built) is not None


def _train_loop(given: Mapping[str, Any]) -> Found:
    if 'type' in given:
        return component(registry.LOOPS)(given)
    loop = EpochBasedTrainLoop if given.get('by_epoch') else IterBasedTrainLoop
    return arguments(loop) - GIVEN_BY_RUNNER | {'by_epoch'}, ()


def _clipping(given: Mapping[str, Any]) -> Found:
    functions = {'norm': torch.nn.utils.clip_grad_norm_, 'value': torch.nn.utils.clip_grad_value_}
    function = functions.get(given.get('type') or 'norm')
    return None if function is None else (arguments(function) - {'parameters'} | {'type'}, ())


def _hook_names(given: Mapping[str, Any]) -> Found:
    """A hook of a name that mmengine does not know has a type."""
    typed = {name for name, hook in given.items() if not isinstance(hook, Mapping) or 'type' in hook}
    usual = {'runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'}
    return typed | usual, ()


def _evaluator(given: Mapping[str, Any]) -> Found:
    return (arguments(Evaluator) | ANY_COMPONENT, ()) if 'metrics' in given else METRIC(given)


# Dotted keys -> their rules; ``*`` stands for every member of a dictionary or list.
METRIC = component(registry.METRICS)
HOOK = component(registry.HOOKS, extra={'priority'})
MODEL_RULES: dict[str, Rule] = {
    'model': component(registry.MODELS),
    'model.network': arguments(DistillNeRF),
    'model.network.space': arguments(ParameterizedSpace),
    'model.network.coarse': arguments(CoarseDepthNet) - {'in_channels'},
    'model.network.fine': arguments(FineDepthNet) - {'in_channels'},
    'model.network.depth_bins': arguments(LogBins),
    'model.network.voxel': arguments(SparseVoxelNet),
    'model.network.sampling': arguments(RaySampling),
    'model.network.head': _head,
    'model.data_preprocessor': component(registry.MODELS),
    'model.text_encoder': arguments(WordSettings),
}
LOADER_RULES: dict[str, Rule] = {
    # ``shuffle`` is the sampler's, everywhere in these configs.
    '': arguments(DataLoader) - {'shuffle'} | {'num_batch_per_epoch', 'disable_subprocess_warning'},
    'sampler': component(registry.DATA_SAMPLERS),
    'batch_sampler': component(registry.DATA_SAMPLERS),
}
DATASET_RULES: dict[str, Rule] = {'': component(registry.DATASETS), 'pipeline.*': component(registry.TRANSFORMS)}
OWN_DATASET_RULES: dict[str, Rule] = {**DATASET_RULES, 'data_prefix': {'img', 'lidar', 'teacher', 'truth', 'features'}}
# Those of mmengine's own constructor of optimizers.
PARAMWISE_RULES: dict[str, Rule] = {
    'optim_wrapper.paramwise_cfg': {
        *('custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult', 'flat_decay_mult'),
        *('dwconv_decay_mult', 'dcn_offset_lr_mult', 'bypass_duplicate'),
    },
    'optim_wrapper.paramwise_cfg.custom_keys.*': {'lr_mult', 'decay_mult'},
}
RUN_RULES: dict[str, Rule] = {
    'train_cfg': _train_loop,
    'optim_wrapper': component(registry.OPTIM_WRAPPERS, 'OptimWrapper', {'constructor', 'paramwise_cfg'}),
    'optim_wrapper.optimizer': component(registry.OPTIMIZERS),
    'optim_wrapper.clip_grad': _clipping,
    'param_scheduler.*': component(registry.PARAM_SCHEDULERS, extra={'convert_to_iter_based'}),
    'val_cfg': component(registry.LOOPS, 'ValLoop'),
    'test_cfg': component(registry.LOOPS, 'TestLoop'),
    'default_hooks': _hook_names,
    'default_hooks.*': HOOK,
    'custom_hooks.*': HOOK,
    'val_evaluator': _evaluator,
    'val_evaluator.*': METRIC,
    'val_evaluator.metrics.*': METRIC,
    'test_evaluator': _evaluator,
    'test_evaluator.*': METRIC,
    'test_evaluator.metrics.*': METRIC,
    'visualizer': component(registry.VISUALIZERS, 'Visualizer'),
    'visualizer.vis_backends.*': component(registry.VISBACKENDS),
    'log_processor': component(registry.LOG_PROCESSORS, 'LogProcessor'),
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'env_cfg.mp_cfg': arguments(set_multi_processing) - {'distributed'},
    'randomness': arguments(Runner.set_randomness) - {'self'},
    'auto_scale_lr': {'enable', 'base_batch_size'},
    'custom_imports': arguments(import_modules_from_strings),
}


def read_sections(config: Config) -> Iterator[Section]:
    """Yield all sections of a config whose keys are known."""
    yield from _apply(MODEL_RULES, config)
    losses = value_of(config, LOSSES)
    yield from _apply(_loss_rules(losses), losses, LOSSES)
    for loader in LOADERS:
        yield from _apply(LOADER_RULES, config.get(loader), loader)
        outer = f'{loader}.dataset'
        for path, dataset in {outer: value_of(config, outer), **dict(datasets(loader, config.get(loader)))}.items():
            own = isinstance(dataset, Mapping) and dataset.get('type') == DATASET
            yield from _apply(OWN_DATASET_RULES if own else DATASET_RULES, dataset, path)
    usual = value_of(config, 'optim_wrapper.constructor') is None
    yield from _apply(RUN_RULES | (PARAMWISE_RULES if usual else {}), config)


def _apply(rules: Mapping[str, Rule], config: Any, path: str = '') -> Iterator[Section]:
    """Yield the sections that rules know in a part of a config, which lies at ``path``; absent ones are empty."""
    for key, rule in rules.items():
        absent = '.'.join(filter(None, (path, key)))
        for place, given in list(_members(config, path, key)) or [(absent, None)]:
            given = {} if given is None else given
            if not isinstance(given, Mapping):
                continue
            known, words = (rule, ()) if isinstance(rule, set) else rule(given) or (None, ())
            if known is not None:
                yield Section(place, given, known, words)


def _members(config: Any, path: str, key: str) -> Iterator[tuple[str, Any]]:
    """Yield what a dotted key with ``*`` stands for, with the places."""
    name, _, rest = key.partition('.')
    if not name:
        yield path, config
        return
    items = config.items() if isinstance(config, Mapping | Config) else enumerate(_listed(config))
    for member, value in items:
        if name in ('*', member):
            yield from _members(value, f'{path}.{member}'.lstrip('.'), rest)


def _listed(value: Any) -> list:
    return value if isinstance(value, list) else []
