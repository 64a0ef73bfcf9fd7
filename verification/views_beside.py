"""Draw what two networks render 1 m to the right of where MiniTown's images were taken, beside the truth.

    python -m verification.views_beside CONFIG CHECKPOINT CONFIG CHECKPOINT --out views.png [--samples 0 21]
        [--cameras CAM_FRONT CAM_BACK] [--cfg-options key=value ...]

A row per sample of the test data and camera: an image, the true view after the car was moved 1 m to the right, and what
each of the two networks makes of it. Options are those of both configs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from projects.DistillNeRF.apis import init_model, reconstruct
from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.engine.builders import build_dataset
from projects.DistillNeRF.engine.command_line import Overrides
from projects.DistillNeRF.engine.evaluate_novel_views import TrueImages
from projects.DistillNeRF.geometry.trajectories import translation
from projects.DistillNeRF.utils.errors import InputError, command
from projects.DistillNeRF.visualization.panel_layout import enlarge, to_uint8, write_png

# Pixels are drawn so many times as large.
SCALE = 3


def rows(networks: list[tuple[Config, str]], samples: list[int], cameras: list[str]) -> list[list[Tensor]]:
    """Render the images ``(3, h, w)`` of every row.

    Raises:
        InputError: no such sample or camera, bad files, no MiniTown.
    """
    dataset = build_dataset(networks[0][0], 'test')
    models = [init_model(config, checkpoint) for config, checkpoint in networks]
    truth, motion = TrueImages(dataset.data_root), translation('x', 1.0, 1.0, 1)[0]
    result = []
    for number in samples:
        if not 0 <= number < len(dataset):
            raise InputError(f'--samples {number}: the test data has samples 0 to {len(dataset) - 1}')
        sample = dataset[number]
        views, meta = sample['inputs']['input_views'], sample['data_samples']
        truth.check(views, meta.scene, meta.frame)
        true = truth.views(views, meta.scene, meta.frame, motion)
        with torch.no_grad():
            rendered = [reconstruct(model, views).render(true.cameras).rgb for model in models]
        for name in cameras:
            if name not in views.names:
                raise InputError(f'--cameras {name}: there is no such camera; choose among {", ".join(views.names)}')
            index = views.names.index(name)
            result.append([images[index] for images in (views.images, true.images, *rendered)])
    return result


@command
def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for number in ('first', 'second'):
        parser.add_argument(f'{number}_config')
        parser.add_argument(f'{number}_checkpoint')
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--samples', type=int, nargs='+', default=[0])
    parser.add_argument('--cameras', nargs='+', default=['CAM_FRONT', 'CAM_BACK'])
    parser.add_argument('--cfg-options', nargs='+', action=Overrides, help='override settings: key=value ...')
    options = parser.parse_args()
    networks = [
        (load_config(config, options.cfg_options), checkpoint)
        for config, checkpoint in (
            (options.first_config, options.first_checkpoint),
            (options.second_config, options.second_checkpoint),
        )
    ]
    pictures = [to_uint8(torch.stack(row)) for row in rows(networks, options.samples, options.cameras)]
    picture = np.concatenate([np.concatenate(list(row), axis=1) for row in pictures])
    write_png(options.out, enlarge(picture, picture.shape[0] * SCALE, picture.shape[1] * SCALE))
    print(f'wrote {options.out}')


if __name__ == '__main__':
    main()
