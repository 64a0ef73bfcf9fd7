"""Read checkpoints safely, and load their weights only if every name and shape fits."""

from __future__ import annotations

import importlib.util
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..utils.errors import InputError, warn
from ..utils.files import is_folder
from ..utils.mmengine_checkpoints import allow_mmengine_checkpoints
from ..utils.torch_files import load_torch, refused_object
from .network import DistillNeRF
from .scene_files import FORMAT
from .weights import differences, find_weights

HINT = 'give a checkpoint that tools/train.py wrote'
# The network is this attribute of the trained mmengine model.
PREFIX = 'network.'
# A module of every network of ours, and modules of the published one; what stands before them in a name is a prefix.
PART, PUBLISHED_PARTS = 'voxel_net', ('coarse_monodepth_estimator', 'multi_view_pooling_octree_encoder')
# The entries, beside the weights, of a checkpoint from which training can be resumed.
TRAINING_STATE = ('meta', 'message_hub', 'optimizer')


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint into main memory; the weights are under ``state_dict``, named as in the mmengine model.

    Prefixes of distributed training and torch.compile are removed, and weights that were saved alone or under another
    key are found.

    Raises:
        InputError: missing, a folder, truncated, or no checkpoint of ours.
    """
    path = Path(path)
    if is_folder(path):
        raise InputError(f'{path}: is a folder; {_checkpoint_in(path)}')
    if importlib.util.find_spec('mmengine'):
        allow_mmengine_checkpoints()
    try:
        content = load_torch(path, 'checkpoint', HINT)
    except pickle.UnpicklingError as error:
        raise InputError(
            f'{path}: not a readable checkpoint: it holds Python objects beside tensors{refused_object(error)}, which '
            f'could run code; {HINT}, or save its weights alone: torch.save(model.state_dict(), FILE)'
        ) from error
    if isinstance(content, Mapping) and content.get('format') == FORMAT:
        raise InputError(f'{path}: is a saved scene, not a checkpoint; see it with tools/viewer.py --scene, or {HINT}')
    weights = find_weights(content)
    if weights is None:
        raise InputError(f'{path}: holds no state_dict of tensors; {HINT}')
    if is_published(weights):
        raise InputError(
            f'{path}: is a checkpoint of the published code; convert it first: '
            f'python tools/convert_checkpoint.py {path} ours.pth'
        )
    state = content if isinstance(content.get('state_dict'), Mapping) or 'meta' in content else {}
    return {**state, 'state_dict': _named_as_in_training(weights)}


def is_published(weights: Mapping[str, Tensor]) -> bool:
    """Return whether the weights have names of the published code."""
    return any(part in name.split('.') for name in weights for part in PUBLISHED_PARTS)


def is_ours(weights: Mapping[str, Tensor]) -> bool:
    """Return whether the weights have names of our network."""
    return any(PART in name.split('.') for name in weights)


def load_weights(network: DistillNeRF, path: str | Path) -> dict[str, Any]:
    """Load the network's weights from a checkpoint.

    Returns:
        everything that the checkpoint holds.

    Raises:
        InputError: an unreadable checkpoint, a name or shape that does not fit, weights that are NaN or infinite.
    """
    state = read_checkpoint(path)
    weights = {
        name.removeprefix(PREFIX): value for name, value in state['state_dict'].items() if name.startswith(PREFIX)
    }
    if not weights:
        names = ', '.join(list(state['state_dict'])[:2])
        raise InputError(f'{path}: the weights are those of another network ({names}, ...); {HINT}')
    expected = network.state_dict()
    if problem := differences(expected, weights):
        raise InputError(
            f'{path}: the weights do not fit the config: {problem}{_reason(expected, weights)}; '
            f'give the config they were trained by{_origin(state)}'
        )
    require_finite(weights, path)
    network.load_state_dict(weights)
    return state


def load_matching_weights(model: nn.Module, weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Load the weights whose names and shapes fit; a warning names the others.

    Raises:
        InputError: no weight fits, or some are NaN or infinite.
    """
    expected = model.state_dict()
    problem = differences(expected, weights)
    fitting = {
        name: value for name, value in weights.items() if name in expected and value.shape == expected[name].shape
    }
    if not fitting:
        raise InputError(f'{path}: none of its {len(weights)} weights fit the model ({problem}); {HINT}')
    require_finite(fitting, path)
    if problem:
        warn(f'{path}: {len(fitting)} of {len(expected)} weights of the model are taken from it, but {problem}')
    model.load_state_dict(fitting, strict=False)


def require_finite(weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Refuse weights that are NaN or infinite.

    Raises:
        InputError: names the first of them.
    """
    for name, value in weights.items():
        if not value.isfinite().all():
            raise InputError(f'{path}: {name} holds NaN or infinity; training diverged, give an earlier checkpoint')


def require_training_state(state: Mapping[str, Any], path: str | Path) -> None:
    """Refuse to resume training from a checkpoint that holds weights alone.

    Raises:
        InputError: names the missing entries.
    """
    if missing := [name for name in TRAINING_STATE if name not in state]:
        raise InputError(
            f'{path}: holds no {", ".join(missing)}, so training cannot go on from it; '
            f'{HINT}, or start from its weights with --cfg-options load_from={path}'
        )


def _checkpoint_in(folder: Path) -> str:
    """Return a hint for a user who gave a folder."""
    checkpoints = checkpoints_in(folder)
    return f'give a checkpoint in it, such as {checkpoints[0]}' if checkpoints else HINT


def _named_as_in_training(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename weights, whose network may have any prefix or none, as the mmengine model names them."""
    prefixes = {name[: name.index(f'{PART}.')] for name in weights if f'.{PART}.' in f'.{name}'}
    if not prefixes or PREFIX in prefixes:
        return dict(weights)
    # An average beside the weights has a longer prefix.
    prefix = min(prefixes, key=lambda prefix: ('ema' in prefix, len(prefix), prefix))
    outer = prefix.removesuffix(PREFIX) if prefix.endswith(PREFIX) else None
    named = {}
    for name, value in weights.items():
        if name.startswith(prefix):
            named[PREFIX + name.removeprefix(prefix)] = value
        elif outer is not None and name.startswith(outer):
            named[name.removeprefix(outer)] = value
    return named


def _reason(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    """Return the probable reason why the weights differ; empty if unknown."""

    def renders(names: Mapping[str, Tensor]) -> str:
        return 'colors' if any(name.startswith('head.decoder.') for name in names) else 'features'

    ours, theirs = renders(expected), renders(weights)
    return '' if ours == theirs else f' (the checkpoint is of a network of {theirs}, the config of one of {ours})'


def _origin(state: Mapping[str, Any]) -> str:
    """Return what the checkpoint tells about its config, as a remark in brackets."""
    meta = state.get('meta')
    meta = meta if isinstance(meta, Mapping) else {}
    if variants := meta.get('variants'):
        return f' (its settings are those of {", ".join(variants)})'
    return f' (the run was {meta["experiment_name"]})' if meta.get('experiment_name') else ''


_NAME = re.compile(r'(iter|epoch)_(\d+)\.pth')


def checkpoints_in(folder: Path) -> list[Path]:
    """List ``iter_N.pth`` and ``epoch_N.pth`` of a folder, the one that was trained longest first.

    They are sorted by the numbers in their names. Where there are both kinds, they are sorted by the iterations that
    the files hold; a file without one comes last.
    """
    numbered = {path: match for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    one_kind = len({match[1] for match in numbered.values()}) == 1
    order = {path: int(match[2]) if one_kind else iteration(path) for path, match in numbered.items()}
    return sorted(numbered, key=lambda path: (order[path], path.name), reverse=True)


def iteration(path: Path) -> int:
    """Return the number of iterations that a checkpoint was trained; -1 if it holds none.

    The tensors are not read.
    """
    if importlib.util.find_spec('mmengine'):
        allow_mmengine_checkpoints()
    try:
        state = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
        return int(state['meta']['iter'])
    except Exception:  # a damaged file can raise nearly anything; reading it whole will report it
        return -1
