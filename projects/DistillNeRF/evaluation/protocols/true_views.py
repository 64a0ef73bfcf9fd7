"""The protocol of true views, of synthetic data alone."""

from __future__ import annotations

from collections.abc import Sequence

from .base import Choice, Frame, Protocol, Sample


class TrueViewsProtocol(Protocol):
    """MiniTown: what cameras would see if the rig had been moved, at every distinct pose of a trajectory.

    Frames: the input is every sample of the test data; targets are its cameras after each motion of a trajectory
    (``--trajectory``, by default 1.2 m to the left and to the right), rendered again from the town at the instant of
    the image. A group per pose, named after it, and ``poses``, their mean; depth of all poses together. Any size, no
    mask, colors clamped to [0, 1]. PSNR of the six images of a pose together, SSIM scikit-image's, depth against the
    truth up to 80 m: those of ``tools/novel_view_synthesis.py --truth``.

    Ours, so nothing is left open. There are no such views of recorded data: nothing compares with these figures but
    others of the same town and trajectory.
    """

    name = 'true_views'
    data = 'MiniTown'
    frames = 'input: every sample; targets: all cameras at every distinct pose of a trajectory, and their mean (poses)'
    sizes = ()
    per_image = False
    scores = 'PSNR, SSIM, depth against the truth: all are here'
    evaluations = ('novel_view', 'depth')
    needs = 'give the test data of a MiniTown'

    def choose(self, drive: Sequence[Frame]) -> Choice:
        """Choose every keyframe; its poses are added where the town is known."""
        return Choice([Sample(key, (key,), {}, {}) for key, frame in enumerate(drive) if frame.key])
