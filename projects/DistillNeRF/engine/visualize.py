"""Pictures of what a model makes of the test data."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from ..utils.errors import InputError, warn
from ..visualization.options import PictureOptions
from ..visualization.sample_pictures import draw_sample
from .running import predictions

# Samples to draw, unless a user says how many.
USUAL_COUNT = 4


def draw_pictures(config: Config, checkpoint: str | None, directory: Path, count: int | None = None) -> Iterator[Path]:
    """What the config's ``model`` asks for of the first samples of the test data; yields the files.

    Args:
        config, checkpoint: the model; ``None`` for random weights.
        directory: where the run is logged, and pictures go.
        count: so many samples; ``None`` for the usual number.

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
    if count is not None and count < 1:
        raise InputError(f'{count} samples: nothing to draw; ask for 1 or more')
    drawn = 0
    samples = predictions(config, checkpoint, directory)
    for number, sample in enumerate(itertools.islice(samples, count or USUAL_COUNT)):
        yield from draw_sample(sample.to_dict(), options, directory, number)
        drawn = number + 1
    if count is not None and drawn < count:
        warn(f'{config.filename}: {count} samples are asked for, but the test data has {drawn}')
