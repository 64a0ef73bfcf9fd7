"""Protocols of neighboring keyframes: DistillNeRF and DrivingForward."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

from .base import Choice, Frame, Protocol, Sample, keyframes

TWO_PER_SECOND = 'of keyframes less than 0.5 s apart every n-th is taken, so that they are about 0.5 s apart'


class DistillNeRFProtocol(Protocol):
    """DistillNeRF (Wang et al., NeurIPS 2024): nuScenes val, one glance, the next keyframe as novel view.

    Frames: the input is the second keyframe of each scene with its six cameras; targets are the same images
    (reconstruction, group ``''``) and those of the next keyframe, 0.5 s later (group ``next``). 114 x 228, no mask,
    colors not clamped. PSNR is of the images of a sample together, SSIM scikit-image's, averaged over images; both
    averaged over samples. Depth against LiDAR up to 80 m.

    Left open: what happens at scenes of two keyframes (here: left out, and counted).
    """

    name = 'distillnerf'
    data = 'nuScenes val'
    frames = 'input: second keyframe of each scene; targets: the same images (reconstruction), next keyframe (next)'
    sizes = ((114, 228),)
    rate = 2.0
    clamp = False
    per_image = False
    scores = 'PSNR, SSIM (scikit-image); depth against LiDAR up to 80 m; features; occupancy: all are here'
    choices = (TWO_PER_SECOND, 'scenes of fewer than three keyframes are left out')
    needs = 'convert scenes of three keyframes or more'

    def choose(self, drive: Sequence[Frame]) -> Choice:
        """Choose the second keyframe, with the third as novel view."""
        keys = keyframes(drive)
        if len(keys) < 3:
            return Choice(skipped=_one('scenes of fewer than three keyframes'))
        now, following = keys[1], keys[2]
        groups = {'': (now,), 'next': (following,)}
        return Choice([Sample(now, (following, now), groups, groups)])


class DrivingForwardSF(Protocol):
    """DrivingForward (Tian et al., AAAI 2025), single-frame mode: from keyframe t to keyframe t + 1.

    Frames: the input is every keyframe that another follows, with its six cameras; targets are the images of that
    (group ``novel``). 352 x 640 and 114 x 228, poses from the data, no mask, colors clamped. PSNR and SSIM of each
    image, averaged over images. Depth is that of the input views, 0 to 80 m.

    Left open: whether frames are keyframes (2 per second) or all images (here: keyframes); whether the first keyframe
    of a scene, which has none before it, is an input (here: yes); which SSIM (here: scikit-image's).
    """

    name = 'drivingforward_sf'
    data = 'nuScenes val'
    frames = 'input: keyframe t; target: keyframe t + 1 (novel)'
    sizes = ((352, 640), (114, 228))
    rate = 2.0
    scores = 'PSNR, SSIM, LPIPS; depth up to 80 m against LiDAR: LPIPS only with its weights'
    choices = (
        *('frames are keyframes', TWO_PER_SECOND),
        'the first keyframe of a scene is an input, too',
        'SSIM is that of scikit-image',
    )
    evaluations = ('novel_view', 'depth')
    needs = 'convert scenes of two keyframes or more'

    def choose(self, drive: Sequence[Frame]) -> Choice:
        """Choose every keyframe but the last."""
        keys = keyframes(drive)
        if len(keys) < 2:
            return Choice(skipped=_one('scenes of fewer than two keyframes'))
        return Choice([_novel(*pair) for pair in itertools.pairwise(keys)])


class DrivingForwardMF(Protocol):
    """DrivingForward (Tian et al., AAAI 2025), multi-frame mode: from keyframes t - 1 and t + 1 to keyframe t.

    Frames: published are two input frames, t - 1 and t + 1, for every keyframe t between two others. A network of one
    glance takes one: t - 1, the nearest that is no look into the future (both are equally near). It cannot interpolate,
    so its figures are no rivals of published ones. Targets are the images of t (group ``novel``). Sizes, mask, clamp
    and metrics are those of :class:`DrivingForwardSF`.

    Left open: as for :class:`DrivingForwardSF`.
    """

    name = 'drivingforward_mf'
    data = 'nuScenes val'
    frames = 'published inputs: keyframes t - 1 and t + 1; target: keyframe t (novel)'
    several_glances = 'the network sees keyframe t - 1 alone, and t + 1 never: it extrapolates where others interpolate'
    sizes = DrivingForwardSF.sizes
    rate = 2.0
    scores = DrivingForwardSF.scores
    choices = ('frames are keyframes', TWO_PER_SECOND, 'SSIM is that of scikit-image')
    evaluations = ('novel_view', 'depth')
    needs = 'convert scenes of three keyframes or more'

    def choose(self, drive: Sequence[Frame]) -> Choice:
        """Choose every keyframe t - 1 for which there are t and t + 1."""
        keys = keyframes(drive)
        if len(keys) < 3:
            return Choice(skipped=_one('scenes of fewer than three keyframes'))
        # The last keyframe is t + 1 of the one before it, and no target.
        return Choice([_novel(*pair) for pair in itertools.pairwise(keys[:-1])])


def _novel(now: int, target: int) -> Sample:
    """Return a sample whose novel view is a frame, and whose depth is scored in its inputs."""
    return Sample(now, (target, now), {'novel': (target,)}, {'': (now,)})


def _one(reason: str) -> Counter[str]:
    return Counter({reason: 1})
