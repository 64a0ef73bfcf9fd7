"""The protocol of Omni-Scene: bins of the way driven."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .base import Choice, Frame, Protocol, Sample

# Meters.
BIN = 3.2
# Share of a bin that a sum of steps may be too short.
ROUNDING = 1e-9


class OmniScene(Protocol):
    """Omni-Scene (Wei et al., CVPR 2025): nuScenes at 12 images per second, in bins of 3.2 m of the way driven.

    Frames: the input is the center frame of each bin with its six cameras; 18 targets: the 6 inputs (group ``''``) and
    the 12 images of its two neighbors in the bin (group ``novel``); ``all`` are the 18. 224 x 400, no mask, colors
    clamped to [0, 1]; LPIPS with VGG. PSNR, SSIM and LPIPS of each image, averaged over images.

    Left open, and chosen here: bins are of the length of the way from the first frame of the scene on; a bin that the
    drive ends in is left out. The two neighbors are the first and the last frame of the bin, about 1.6 m away, so that
    no frame is the target of two bins. The center is the frame between these that is nearest to the middle of the bin,
    of two the earlier. A bin of fewer than three frames is left out, and counted. SSIM is scikit-image's.
    """

    name = 'omniscene'
    data = 'nuScenes val'
    frames = (
        'input: center frame of each bin of 3.2 m of the way; targets: the same 6 images (reconstruction), first and '
        'last frame of the bin (novel, 12), all 18 (all)'
    )
    sizes = ((224, 400),)
    rate = 12.0
    between = True
    scores = 'PSNR, SSIM, LPIPS with VGG: LPIPS only with its weights'
    choices = (
        'bins follow each other from the first frame of the scene on; one that the drive ends in is left out',
        'neighbors are the first and the last frame of the bin',
        'SSIM is that of scikit-image',
    )
    evaluations = ('psnr', 'novel_view', 'depth')
    needs = 'give data of more images per meter; nuScenes: convert with --image-sweeps'

    def choose(self, drive: Sequence[Frame]) -> Choice:
        """Choose a sample per bin of three frames or more."""
        choice = Choice()
        places = [frame.place for frame in drive]
        way, bins = distances(places), bins_of(places)
        for number, frames in enumerate(bins[:-1]):
            if len(frames) < 3:
                choice.skipped['bins of fewer than three frames'] += 1
                continue
            first, *inner, last = frames
            middle = (number + 0.5) * BIN
            # Micrometers decide nothing: of two that are equally near, the earlier one.
            center = min(inner, key=lambda frame: round(abs(way[frame] - middle), 6))
            groups = {'': (center,), 'novel': (first, last), 'all': (center, first, last)}
            choice.samples.append(Sample(center, (center, first, last), groups, {'': (center,)}))
        choice.skipped['bins that a drive ends in'] += 1
        return choice


def distances(places: Sequence[np.ndarray]) -> np.ndarray:
    """Return the meters ``(n,)`` that were driven from the first place to each."""
    return np.concatenate([[0.0], np.linalg.norm(np.diff(places, axis=0), axis=1).cumsum()])


def bins_of(places: Sequence[np.ndarray]) -> list[list[int]]:
    """Return the numbers of the places in each bin of :data:`BIN` meters of the way; the drive ends in the last one."""
    numbers = np.floor(distances(places) / BIN + ROUNDING).astype(int).tolist()
    bins: list[list[int]] = [[] for _ in range(numbers[-1] + 1)]
    for place, number in enumerate(numbers):
        bins[number].append(place)
    return bins
