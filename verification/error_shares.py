"""Tell on which pixels of MiniTown a network's squared error lies, and what rendering them perfectly would bring.

    python -m verification.error_shares CONFIG CHECKPOINT [--cfg-options key=value ...]

Every pixel is in one part. "Without it" is the PSNR of all pixels if those of the part had no error: no change that
concerns this part alone can bring more.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F
from mmengine.structures import BaseDataElement
from torch import Tensor

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.engine.command_line import Overrides, file_path
from projects.DistillNeRF.engine.evaluate import predictions
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.utils.errors import InputError, command

# The sky this near to something is its border, pixels.
BORDER = 2
# What stands still, by distance along the optical axis, meters.
NEAR, FAR = 8.0, 30.0
FRAMES = {'input views': 0, 'next frame': 1}


@dataclass
class Share:
    """Pixels and their squared error (mean over the colors), summed."""

    pixels: float = 0.0
    error: float = 0.0


def parts(targets: Views, opacity: Tensor) -> dict[str, Tensor]:
    """Divide the pixels of views into parts: masks ``(V, H, W)``, of which one holds for each pixel.

    Raises:
        InputError: the views have no true depth, or nobody says what moves.
    """
    if targets.true_depth is None or targets.moving is None:
        raise InputError('the test data has no true depth or does not say what moves: give that of MiniTown')
    depth = targets.true_depth
    sky = ~depth.isfinite()
    beside = F.max_pool2d((~sky).float()[:, None], 2 * BORDER + 1, 1, BORDER)[:, 0] > 0
    hole = ~sky & (opacity < 0.5)
    moving = ~sky & ~hole & (targets.moving > 0.5)
    still = ~sky & ~hole & ~moving
    return {
        'sky': sky & ~beside,
        f'sky, {BORDER} pixels beside something': sky & beside,
        'holes: something is there, opacity below .5': hole,
        'what moves': moving,
        f'nearer than {NEAR:g} m': still & (depth < NEAR),
        f'{NEAR:g} to {FAR:g} m': still & (depth >= NEAR) & (depth <= FAR),
        f'beyond {FAR:g} m': still & (depth > FAR),
    }


def shares(samples: Iterable[BaseDataElement]) -> dict[str, dict[str, Share]]:
    """Add up the parts of the target views of predictions, for each of :data:`FRAMES`."""
    found: dict[str, dict[str, Share]] = {title: {} for title in FRAMES}
    for sample in samples:
        for title, frame in FRAMES.items():
            chosen = [index for index, number in enumerate(sample.target_views.frames) if number == frame]
            targets, opacity = sample.target_views[chosen], sample.opacity[chosen]
            if chosen and opacity.shape[1:] != targets.images.shape[2:]:
                opacity = F.interpolate(opacity[:, None], size=targets.images.shape[2:], mode='bilinear')[:, 0]
            error = (sample.rgb[chosen].clamp(0, 1) - targets.images).square().mean(1)
            for name, mask in parts(targets, opacity).items() if chosen else ():
                share = found[title].setdefault(name, Share())
                share.pixels += float(mask.sum())
                share.error += float(error[mask].double().sum())
    return {title: parts for title, parts in found.items() if parts}


def table(title: str, found: dict[str, Share]) -> list[str]:
    """Write the parts as lines of a Markdown table."""
    pixels, error = (sum(getattr(share, name) for share in found.values()) for name in ('pixels', 'error'))
    lines = [f'| {title} | pixels | squared error | PSNR there, dB | of all without it, dB |', '| --- ' * 5 + '|']
    for name, share in found.items():
        there = _psnr(share.error, share.pixels)
        rest = _psnr(error - share.error, pixels)
        lines.append(f'| {name} | {share.pixels / pixels:.3f} | {share.error / error:.3f} | {there} | {rest} |')
    return [*lines, f'| all | 1 | 1 | {_psnr(error, pixels)} | |']


def _psnr(error: float, pixels: float) -> str:
    return f'{-10 * math.log10(error / pixels):.2f}' if error > 0 and pixels else ''


@command
def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', type=file_path)
    parser.add_argument('checkpoint')
    parser.add_argument('--cfg-options', nargs='+', action=Overrides, help='override settings: key=value ...')
    options = parser.parse_args()
    loads = {'test_dataloader.dataset.load_truth': True, 'test_dataloader.dataset.load_teacher': False}
    config = load_config(options.config, {**(options.cfg_options or {}), **loads})
    with tempfile.TemporaryDirectory() as work_dir:
        found = shares(predictions(config, options.checkpoint, Path(work_dir)))
    print('\n\n'.join('\n'.join(table(title, of_frame)) for title, of_frame in found.items()))


if __name__ == '__main__':
    main()
