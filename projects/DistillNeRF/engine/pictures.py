"""Pictures of what a model makes of the test data."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from ..errors import InputError
from ..visualization.options import PictureOptions
from ..visualization.sample_pictures import draw_sample
from .running import predictions


def draw_pictures(config: Config, checkpoint: str | None, directory: Path, count: int) -> Iterator[Path]:
    """What the config's ``model`` asks for of the first ``count`` samples of the test data; yields the files.

    Raises:
        InputError: nothing is asked for, or bad files.
    """
    options = PictureOptions.of(config.model)
    if not options.anything:
        raise InputError(
            f'{config.filename}: nothing to draw; add --cfg-options model.visualize_imgs=True (or visualize_voxels, '
            'visualize_foundation_model_feat, language_query)'
        )
    options.check_use()
    if count < 1:
        raise InputError(f'{count} samples: nothing to draw; ask for 1 or more')
    for number, sample in enumerate(itertools.islice(predictions(config, checkpoint, directory), count)):
        yield from draw_sample(sample.to_dict(), options, directory, number)
