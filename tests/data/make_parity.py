"""Make the compact parity vectors in tests/data/parity from the full set: make_parity.py SOURCE OUT

SOURCE is the folder with ``checkpoint_format.json`` and ``public/*.npz`` (27 MB: the numbers that the published code
gives with weights made by a rule, docs/NETWORK.md#vectors); README.md beside the result tells what is kept. Every
array that is compared stays in its file, so each comparison of the full file is made; large ones are stored at every
k-th index only. Numbers are never rounded.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]

# Array -> every how many of the stored indices of each dimension are kept. The stride that results is among
# verification/parity/vectors.py:STRIDES, which finds it from the shapes.
PIXELS = (1, 1, 4, 4)
FLOAT64 = {
    'coarse_logit_preclamp_sub': (2,),
    'monodepthfeat_sub': (1, 1, 2, 2),
    'imgfeat_sub': (1, 1, 2, 2),
    'fine_logit_pre_sigmoid_sub': (1, 1, 2, 2),
    'param_coord_sub': (4,),
    'pooled7_sub': (2,),
    'pooled9_sub': (4,),
    'convout7_sub': (4,),
    'composite_sub': (1, 1, 2, 2),
    'recons': (1, 1, 2, 2),
}
RAYS = {
    f'render/{name}_sub': (8,)
    for name in ('coarse_weights', 'coarse_query7', 'coarse_query9', 'all_depths', 'all_density_logit', 'weights')
}
# The scores of the candidates and the parameterized positions stay whole: they decide on cells. The composites, too,
# from which the decoder starts.
FLOAT32 = RAYS | {
    'coarse/density_logit_preclamp_sub': (8,),
    'coarse/weights_sub': (8,),
    'coarse/monodepthfeat': PIXELS,
    'fine/imgfeat': PIXELS,
    'fine/depth_candidates': PIXELS,
    'fine/candidates_mid': PIXELS,
    'fine/weights_mid': PIXELS,
    'fine/lifted_sub': (4,),
    'octree/world_coord': (97,),
    'octree/pooled7_sub': (16,),
    'octree/pooled9_sub': (8,),
    'octree/convout7': (64,),
}
# Variants that share the encoder and part of the head.
RENDERED = RAYS | {'render/composite_features': (1, 1, 4, 4), 'out/recons': (1, 1, 4, 4)}
# Gradients and layers hold up to 4,000 and 512 elements; their strides are coprime with the dimensions of what they
# are taken from, and stay so with these factors.
ELEMENTS = {'grad_stride/': (('gradA/', 'gradB/'), 500, 17), 'probe_stride/': (('probe/',), 300, 3)}

# Large arrays that nothing is compared with.
UNREAD = (
    *(f'marcher/{activation}_alpha' for activation in ('exp', 'sigmoid', 'softplus')),
    *('metric/ff_gt_seeded_first_16', 'metric/ff_recon_first_16', 'metric/input_names'),
    *('scene/sky_out_target_depth_imgs', 'scene/sky_out_target_emernerf_depth_img'),
    *('spc/exsum_L5', 'spc/exsum_L9'),
)


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', type=Path, help='folder of the full set')
    parser.add_argument('out', type=Path, help='folder to write')
    return parser.parse_args()


def thin(arrays: Arrays, steps: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Every array, at every so many indices of its first dimensions."""
    return {name: array[tuple(slice(None, None, k) for k in steps.get(name, ()))] for name, array in arrays.items()}


def thin_elements(arrays: Arrays) -> Arrays:
    """Fewer elements of each gradient and layer; the file's own stride of each grows by the same factor."""
    result = dict(arrays)
    for strides, (groups, limit, factor) in ELEMENTS.items():
        for name in (key.removeprefix(strides) for key in arrays if key.startswith(strides)):
            stored = [group + name for group in groups if group + name in arrays]
            if stored and len(arrays[stored[0]]) > limit:
                result[strides + name] = arrays[strides + name] * factor
                result |= {key: arrays[key][::factor] for key in stored}
    return result


def without_unread(arrays: Arrays) -> Arrays:
    """The unit vectors that are compared with something."""
    return {name: array for name, array in arrays.items() if name not in UNREAD}


def checkpoint_format(known: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of ``model``; what other variants have in their place or on top; counts; the frozen network."""
    common = known['yamls']['model']['keys']
    variants = {}
    for variant, format_ in known['yamls'].items():
        keys = format_['keys']
        if isinstance(keys, str):
            continue
        if set(common) - set(keys):
            raise ValueError(f'{variant} lacks entries of model')
        variants[variant] = {
            'trainable': format_['parameter_counts']['total_trainable'],
            'keys': {name: entry for name, entry in keys.items() if entry != common.get(name)},
        }
    return {'common': common, 'variants': variants, 'frozen_extractor': known['frozen_extractor_keys']['keys']}


FILES: Mapping[str, Callable[[Arrays], Arrays]] = {
    'inputs': dict,
    'f64_model': lambda arrays: thin(arrays, FLOAT64),
    'f64_model_linearspace': lambda arrays: thin(arrays, FLOAT64),
    'f64_model_linearspace_foundation_feature': dict,
    'model': lambda arrays: thin(thin_elements(arrays), FLOAT32),
    'model_foundation_feature': lambda arrays: thin(thin_elements(arrays), RENDERED),
    'model_400_224': lambda arrays: thin(thin_elements(arrays), RENDERED),
    'depth_anything': lambda arrays: thin(arrays, {'feature': PIXELS}),
    'unit': without_unread,
}


def main() -> None:
    """Write the files of FILES and the names and shapes of published checkpoints."""
    args = parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, compact in FILES.items():
        with np.load(args.source / 'public' / f'{name}.npz') as archive:
            arrays = compact(dict(archive))
        path = args.out / f'{name}.npz'
        np.savez_compressed(path, **arrays)
        print(f'{path}: {len(arrays)} arrays, {path.stat().st_size / 1e6:.2f} MB')
    known = json.loads((args.source / 'checkpoint_format.json').read_text())
    lines = [f'"{name}": {json.dumps(value)}' for name, value in checkpoint_format(known).items()]
    (args.out / 'checkpoint_format.json').write_text('{\n' + ',\n'.join(lines) + '\n}\n')


if __name__ == '__main__':
    main()
