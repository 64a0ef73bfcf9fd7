"""The protocol of STORM: windows of two seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .base import SAME_TIME, Choice, Frame, Protocol, Sample, spacing

# Seconds: a window, and the input frames in it.
WINDOW = 2.0
CONTEXT = (0.0, 0.5, 1.0, 1.5)


class Storm(Protocol):
    """STORM (Yang et al., ICLR 2025): Waymo val, three front cameras, windows of 2 s of 20 frames.

    Frames: published inputs are the frames at 0, 0.5, 1 and 1.5 s of a window, all four together; the other 16 are
    scored. A network of one glance sees one of them: each other frame is rendered from the nearest in time, of two the
    earlier, so a window is up to four samples here, and every frame is scored once (group ``novel``). Such figures are
    no rivals of published ones. 160 x 240, no mask, colors clamped. PSNR and SSIM of each image, averaged over images;
    depth of the scored frames, where LiDAR or truth is known. Published is also the PSNR of what moves
    (``--by motion``, where the data say what moves).

    Left open, and chosen here: windows follow each other from the first frame of the scene on, without overlap; what
    is left at the end is not scored, and counted. A window that has no frame within half a frame of a context time is
    left out, and counted. SSIM is scikit-image's. Data of another rate have other frames in a window.
    """

    name = 'storm'
    data = 'Waymo val'
    frames = 'published inputs: 0, 0.5, 1, 1.5 s of windows of 2 s; targets: the other frames of the window (novel)'
    several_glances = (
        'the network sees one of the four input frames, the one that is nearest to the target in time (of two the '
        'earlier): a window is up to four samples'
    )
    sizes = ((160, 240),)
    rate = 10.0
    cameras = 3
    between = True
    scores = 'PSNR, SSIM, depth RMSE, all pixels and what moves: what moves only where the data say it'
    choices = (
        'windows follow each other from the first frame of the scene on, without overlap',
        'SSIM is that of scikit-image',
    )
    evaluations = ('novel_view', 'depth')
    needs = 'give scenes of 2 s or more with images between those 0.5 s apart; nuScenes: convert with --image-sweeps'

    def choose(self, drive: Sequence[Frame]) -> Choice:
        """Choose up to four samples per window."""
        choice = Choice()
        period = spacing([frame.time for frame in drive])
        if not period > 0:
            choice.skipped['scenes of a single frame'] += 1
            return choice
        start = drive[0].time
        windows = math.floor((drive[-1].time - start + period + SAME_TIME) / WINDOW)
        # A frame that comes a little early is of the window that it begins.
        members: list[list[int]] = [[] for _ in range(windows)]
        for number, frame in enumerate(drive):
            window = math.floor((frame.time - start + period / 2 - SAME_TIME) / WINDOW)
            if window < windows:
                members[window].append(number)
            else:
                choice.skipped['frames after the last whole window'] += 1
        for number, frames in enumerate(members):
            self._add_window(choice, drive, frames, start + number * WINDOW, period)
        return choice

    @staticmethod
    def _add_window(choice: Choice, drive: Sequence[Frame], frames: list[int], start: float, period: float) -> None:
        """Add the samples of one window that begins at ``start`` seconds."""
        inputs = []
        for time in CONTEXT:
            nearest = min(frames, key=lambda frame: abs(drive[frame].time - start - time), default=None)
            if nearest is None or abs(drive[nearest].time - start - time) > period / 2 + SAME_TIME:
                choice.skipped['windows without a frame at 0, 0.5, 1 or 1.5 s'] += 1
                return
            inputs.append(nearest)
        targets: dict[int, list[int]] = {glance: [] for glance in inputs}
        for frame in frames:
            if frame not in targets:
                # Microseconds decide nothing: of two that are equally near, the earlier one.
                lags = {glance: round(abs(drive[frame].time - drive[glance].time), 3) for glance in inputs}
                targets[min(lags, key=lags.__getitem__)].append(frame)
        if len(targets) < len(CONTEXT) or not any(targets.values()):
            choice.skipped['windows without frames between the inputs'] += 1
            return
        for glance, scored in targets.items():
            if scored:
                group = {'novel': tuple(scored)}
                choice.samples.append(Sample(glance, tuple(scored), group, group))
