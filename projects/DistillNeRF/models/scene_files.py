"""Scenes in files: only what cannot be computed again, without the encoder, bit by bit."""

from __future__ import annotations

import dataclasses
import os
import pickle
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..geometry.cameras import Cameras
from ..geometry.contraction import ParameterizedSpace
from ..modules.heads import ColorHead, FeatureHead, build_head
from ..modules.renderer import RaySampling
from ..modules.source_blend import SourceBlend
from ..modules.source_views import Sources
from ..modules.voxels import VoxelGrid
from ..utils.errors import InputError
from ..utils.torch_files import load_torch, refused_object, save_torch
from .voxel_field import VoxelField
from .weights import find_weights

FORMAT = 'distillnerf scene'
# Version 2 has source views, version 3 also those of the past, version 4 their features; scenes without them are still
# written as before.
FORMAT_VERSIONS = (1, 2, 3, 4)
HINT = 'give a scene that tools/infer.py or Scene.save wrote'

S = TypeVar('S', bound=VoxelField)


def save_scene(
    path: str | os.PathLike,
    field: VoxelField,
    head: ColorHead | FeatureHead,
    downscale: int,
    blend: SourceBlend | None = None,
    sources: Sources | None = None,
) -> None:
    """Write a scene to ``path``, whole or not at all: its voxel field, head, downscale factor, and source views.

    The file holds the codes of the fine cells, from which the grid and its tables are built again, the voxels of both
    levels, the settings of space and sampling, and the head with its weights. Numbers are stored as they are.

    Raises:
        InputError: nothing can be written there.
    """
    grid = field.grid
    state = {
        'format': FORMAT,
        'format_version': _version(blend),
        'levels': [grid.coarse_level, grid.fine_level],
        'codes': _own(grid.fine_codes),
        'coarse': _own(field.coarse),
        'fine': _own(field.fine),
        'space': dataclasses.asdict(field.space),
        'sampling': dataclasses.asdict(field.sampling),
        'head': dict(head.settings),
        'head_weights': {name: _own(value) for name, value in head.state_dict().items()},
        'downscale': downscale,
    }
    if blend is not None:
        assert sources is not None
        state |= {
            'blend': dict(blend.settings),
            'blend_weights': {name: _own(value) for name, value in blend.state_dict().items()},
            'sources': {
                'images': _own(sources.images),
                'distances': _own(sources.distances),
                'intrinsics': _own(sources.cameras.intrinsics),
                'cam2world': _own(sources.cameras.cam2world),
                **({} if sources.past is None else {'past': _own(sources.past)}),
                **({} if sources.features is None else {'features': _own(sources.features)}),
            },
        }
    save_torch(path, state)


def _version(blend: SourceBlend | None) -> int:
    """Return the first version that has what a scene with this blend needs."""
    if blend is None:
        return 1
    return 4 if blend.features else 3 if blend.past else 2


def load_scene(path: str | os.PathLike, kind: type[S]) -> S:
    """Read a scene into main memory, its head in evaluation mode.

    Args:
        path: the file.
        kind: :class:`.scene.Scene`; this file cannot import it.

    Raises:
        InputError: a missing or damaged file, one of another format, or one of a later version.
    """
    try:
        state = load_torch(path, 'scene', HINT)
    except pickle.UnpicklingError as error:
        raise InputError(
            f'{path}: not a readable scene: it holds Python objects beside tensors{refused_object(error)}; {HINT}'
        ) from error
    if not isinstance(state, dict) or state.get('format') != FORMAT:
        remark = ', but a checkpoint: tools/infer.py makes scenes with it' if find_weights(state) else ''
        raise InputError(f'{path}: not a scene{remark}; {HINT}')
    if (version := state.get('format_version')) not in FORMAT_VERSIONS:
        raise InputError(f'{path}: a scene of version {version}, not {FORMAT_VERSIONS[-1]}; save it again')
    try:
        return kind(**_fields(state))
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        cause = ' '.join(f'{type(error).__name__}: {error}'.split())
        raise InputError(f'{path}: the scene is damaged ({cause}); {HINT}') from error


def _fields(state: dict[str, Any]) -> dict[str, Any]:
    """Make the fields of a scene from the contents of its file."""
    codes, coarse, fine = state['codes'], state['coarse'], state['fine']
    levels = state['levels']
    if not ((codes.diff() > 0).all() and ((codes >= 0) & (codes < 8 ** levels[1])).all()):
        raise ValueError('its cells are not in order')
    grid, _ = VoxelGrid.build(codes, *levels)
    head = build_head(**state['head'])
    # The weights themselves, not copies: their precision and memory layout decide about the last bits.
    head.load_state_dict(state['head_weights'], assign=True)
    width = state['head']['channels'] + 1
    for level, voxels, count in (('coarse', coarse, grid.num_coarse), ('fine', fine, grid.num_fine)):
        if voxels.shape != (count, width):
            raise ValueError(f'its {level} voxels are {tuple(voxels.shape)}, not {(count, width)}')
        if not voxels.isfinite().all():
            raise ValueError(f'its {level} voxels hold NaN or infinity')
    blend = sources = None
    if state['format_version'] > 1:
        blend = SourceBlend(**state['blend'])
        blend.load_state_dict(state['blend_weights'], assign=True)
        blend, sources = blend.eval(), _sources(**state['sources'])
        if blend.past != (sources.past is not None):
            raise ValueError('its source views do not say which are of the past')
        if (blend.features or (None,))[0] != (None if sources.features is None else sources.features.shape[1]):
            raise ValueError('its source views do not have the features that are blended')
    return {
        'grid': grid,
        'coarse': coarse,
        'fine': fine,
        'space': ParameterizedSpace(**state['space']),
        'sampling': RaySampling(**state['sampling']),
        'head': head.eval(),
        'downscale': int(state['downscale']),
        'blend': blend,
        'sources': sources,
    }


def _sources(
    images: Tensor,
    distances: Tensor,
    intrinsics: Tensor,
    cam2world: Tensor,
    past: Tensor | None = None,
    features: Tensor | None = None,
) -> Sources:
    """Make the source views of a file's contents."""
    count, _, height, width = images.shape
    if distances.shape != (count, height, width) or intrinsics.shape != (count, 3, 3) or len(cam2world) != count:
        raise ValueError('its source views do not fit together')
    if past is not None and (past.shape != (count,) or past.dtype != torch.bool):
        raise ValueError('what its source views say of the past is damaged')
    if features is not None and (len(features) != count or features.shape[2:] != (height, width)):
        raise ValueError('the features of its source views do not fit their images')
    known = [part for part in (images, distances, intrinsics, cam2world, features) if part is not None]
    if not all(part.isfinite().all() for part in known):
        raise ValueError('its source views hold NaN or infinity')
    return Sources(images, Cameras(intrinsics, cam2world, height, width), distances, past, features)


def _own(tensor: Tensor) -> Tensor:
    """Copy to main memory, as torch.save would store all of a larger tensor for a part of it."""
    return tensor.detach().cpu().clone()
