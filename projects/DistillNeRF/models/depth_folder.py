"""Read the frozen depth network from a folder of the hub: Depth-Anything v1 or v2 as transformers keeps it.

The folder has ``config.json`` and ``model.safetensors`` (or its shards) of ``DepthAnythingForDepthEstimation``. Its
weights get our names; transformers itself is not needed. v1 and v2 have the same layers and differ in the blocks of
the transformer that the head reads, which ``config.json`` says.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..modules.depth_anything import DepthAnything, DPTHead, load_depth_anything
from ..modules.vision_transformer import VisionTransformer
from ..utils.errors import InputError
from ..utils.files import read_json, require_file

CONFIG, WEIGHTS, INDEX = 'config.json', 'model.safetensors', 'model.safetensors.index.json'
HINT = (
    'give a folder of Depth-Anything v1 or v2 for transformers; get one with: '
    'python tools/get_weights.py depth-anything-v2-small'
)
# What our network is, by the keys of config.json. A key that is not there has this value in transformers, too, but for
# the kinds, which must be there.
SETTINGS: dict[str, Any] = {
    'model_type': 'depth_anything',
    'patch_size': 14,
    'reassemble_factors': [4, 2, 1, 0.5],
    'head_in_index': -1,
}
BACKBONE_SETTINGS: dict[str, Any] = {
    'model_type': 'dinov2',
    'patch_size': 14,
    'num_channels': 3,
    'hidden_act': 'gelu',
    'mlp_ratio': 4,
    'qkv_bias': True,
    'use_swiglu_ffn': False,
    'layer_norm_eps': 1e-6,
    'apply_layernorm': True,
}
USUAL_HEADS = 12
# Patterns of names in transformers, and ours. All that match are applied, in this order.
RENAMED = (
    (r'^backbone\.embeddings\.patch_embeddings\.projection', 'pretrained.patch_embed.proj'),
    (r'^backbone\.embeddings\.position_embeddings', 'pretrained.pos_embed'),
    (r'^backbone\.embeddings\.', 'pretrained.'),
    (r'^backbone\.encoder\.layer\.', 'pretrained.blocks.'),
    (r'^backbone\.layernorm\.', 'pretrained.norm.'),
    (r'\.attention\.(?:attention\.query|q_proj)\.', '.attn.q.'),
    (r'\.attention\.(?:attention\.key|k_proj)\.', '.attn.k.'),
    (r'\.attention\.(?:attention\.value|v_proj)\.', '.attn.v.'),
    (r'\.attention\.(?:output\.dense|o_proj)\.', '.attn.proj.'),
    (r'\.layer_scale([12])\.lambda1$', r'.ls\1.gamma'),
    (r'^neck\.reassemble_stage\.layers\.(\d)\.projection', r'depth_head.projects.\1'),
    (r'^neck\.reassemble_stage\.layers\.(\d)\.resize', r'depth_head.resize_layers.\1'),
    *((rf'^neck\.convs\.{i}\.', f'depth_head.scratch.layer{i + 1}_rn.') for i in range(4)),
    # The first fusion there is that of the last block, which is the fourth here.
    *((rf'^neck\.fusion_stage\.layers\.{i}\.', f'depth_head.scratch.refinenet{4 - i}.') for i in range(4)),
    (r'\.residual_layer([12])\.convolution([12])\.', r'.resConfUnit\1.conv\2.'),
    (r'(refinenet\d)\.projection\.', r'\1.out_conv.'),
    (r'^head\.conv1\.', 'depth_head.scratch.output_conv1.'),
    (r'^head\.conv2\.', 'depth_head.scratch.output_conv2.0.'),
    (r'^head\.conv3\.', 'depth_head.scratch.output_conv2.2.'),
)
MASK_TOKEN = 'pretrained.mask_token'


def read_depth_folder(folder: str | Path) -> DepthAnything:
    """Build the frozen network with the weights in a folder.

    Raises:
        InputError: another model, a missing or damaged file, or settings that this network has not.
    """
    folder = Path(folder)
    settings = _checked_settings(folder / CONFIG)
    state = published_names(read_safetensors(folder))
    try:
        network = _network(settings, state)
        return load_depth_anything(state, network)
    except (AttributeError, KeyError, RuntimeError, ValueError) as error:
        cause = ' '.join(str(error).split())[:300]
        raise InputError(f'{folder}: its weights are not those of its {CONFIG} ({cause}); {HINT}') from error


def weight_files(folder: Path) -> list[Path]:
    """List the safetensors files of a folder, those of an index in its order.

    Raises:
        InputError: there are none, or one that the index names is missing.
    """
    if (folder / WEIGHTS).is_file() or not (folder / INDEX).is_file():
        return [require_file(folder / WEIGHTS, HINT)]
    index = read_json(folder / INDEX, HINT)
    named = index.get('weight_map') if isinstance(index, dict) else None
    if not isinstance(named, dict) or not named or not all(isinstance(name, str) for name in named.values()):
        raise InputError(f'{folder / INDEX}: names no files of weights; {HINT}')
    hint = f'{INDEX} names it: copy the folder again, with all its files'
    return [require_file(folder / name, hint) for name in dict.fromkeys(named.values())]


def read_safetensors(folder: Path) -> dict[str, Tensor]:
    """Read all weights of a folder, by their names there.

    Raises:
        InputError: a missing or damaged file, or the package is missing.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise InputError(
            f'{folder}: to read it, safetensors is needed; install it with: pip install -r requirements/foundation.txt'
        ) from error
    state: dict[str, Tensor] = {}
    for path in weight_files(folder):
        try:
            state |= load_file(path)
        except (SafetensorError, OSError) as error:
            with path.open('rb') as file:
                pointer = file.read(32).startswith(b'version https://git-lfs')
            cause = 'only the pointer of a file in git-lfs' if pointer else ' '.join(str(error).split())[:200]
            raise InputError(f'{path}: not a readable safetensors file ({cause}); copy it again') from error
    return state


def published_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give weights of transformers the names of the published file; queries, keys and values become one matrix."""
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        for pattern, ours in RENAMED:
            name = re.sub(pattern, ours, name)
        renamed[name] = value
    for name in [name for name in renamed if '.attn.q.' in name]:
        parts = [renamed.pop(name.replace('.attn.q.', f'.attn.{part}.')) for part in 'qkv']
        renamed[name.replace('.attn.q.', '.attn.qkv.')] = torch.cat(parts)
    if MASK_TOKEN not in renamed and (token := renamed.get('pretrained.cls_token')) is not None:
        renamed[MASK_TOKEN] = token.new_zeros(1, token.shape[-1])  # it is used in no way
    return renamed


def _checked_settings(path: Path) -> dict[str, Any]:
    """Read ``config.json`` and compare it with what our network is."""
    settings = read_json(path, HINT)
    if not isinstance(settings, dict) or settings.get('model_type') != SETTINGS['model_type']:
        found = settings.get('model_type') if isinstance(settings, dict) else None
        raise InputError(f'{path}: is of a model {found!r}, not {SETTINGS["model_type"]!r}; {HINT}')
    backbone = settings.get('backbone_config')
    if not isinstance(backbone, dict) or backbone.get('model_type') != BACKBONE_SETTINGS['model_type']:
        found = backbone.get('model_type') if isinstance(backbone, dict) else settings.get('backbone')
        raise InputError(f'{path}: its backbone is {found!r}, not {BACKBONE_SETTINGS["model_type"]!r}; {HINT}')
    for place, given, wanted in (('', settings, SETTINGS), ('backbone_config.', backbone, BACKBONE_SETTINGS)):
        for name, value in wanted.items():
            if (found := given.get(name, value)) != value:
                raise InputError(
                    f'{path}: {place}{name} is {json.dumps(found)}, and must be {json.dumps(value)}; {HINT}'
                )
    return settings


def _network(settings: Mapping[str, Any], state: Mapping[str, Tensor]) -> DepthAnything:
    """Make the network of these weights, without values: sizes are those of the weights."""
    positions = state['pretrained.pos_embed']
    width, grid = positions.shape[-1], math.isqrt(positions.shape[1] - 1)
    depth = len({name.split('.')[2] for name in state if name.startswith('pretrained.blocks.')})
    heads = settings['backbone_config'].get('num_attention_heads', USUAL_HEADS)
    if grid * grid != positions.shape[1] - 1 or width % heads:
        raise ValueError(f'{positions.shape[1]} positions, {width} channels and {heads} attention heads do not fit')
    sizes = [len(state[f'depth_head.projects.{i}.weight']) for i in range(4)]
    channels = len(state['depth_head.scratch.layer1_rn.weight'])
    with torch.device('meta'):
        blocks = _blocks(settings['backbone_config'], depth)
        transformer = VisionTransformer(width, depth, heads, grid=grid, outputs=blocks)
        return DepthAnything(transformer, DPTHead(width, sizes, channels))


def _blocks(backbone: Mapping[str, Any], depth: int) -> tuple[int, ...]:
    """Return the blocks that the head reads, counted from 0; there, 0 is what enters the first block."""
    stages = backbone.get('out_indices')
    if stages is None:
        stages = [int(str(name).removeprefix('stage')) for name in backbone.get('out_features') or ()]
    blocks = tuple((stage if stage >= 0 else stage + depth + 1) - 1 for stage in stages)
    if len(blocks) != 4 or list(blocks) != sorted({*blocks} & {*range(depth)}):
        raise ValueError(
            f'backbone_config.out_indices is {stages}, which are no four of {depth} blocks in rising order'
        )
    return blocks
