"""What a protocol is: which frames of a drive are inputs, which are targets, and how these are scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

# Share of the time between two frames by which a time may be missed.
HALF = 0.5
# Seconds that are no difference: times are microseconds in most data.
SAME_TIME = 1e-4


@dataclass(frozen=True)
class Frame:
    """One instant of a drive, at which all cameras took an image.

    Attributes:
        time: seconds.
        place: ``(3,)`` meters, where the LiDAR was, in a frame of reference that does not move.
        key: whether it is a keyframe; the others are images between keyframes, of which nothing else is known.
    """

    time: float
    place: np.ndarray
    key: bool = True


@dataclass(frozen=True)
class Sample:
    """One reconstruction and what is scored of it. Frames are numbers in their drive; each stands for all cameras.

    Attributes:
        input: the frame that the network sees.
        targets: frames to render, in this order.
        colors, depths: group -> the frames among ``targets`` whose images, or depths, are scored under this name.
            The group ``''`` is the reconstruction.
    """

    input: int
    targets: tuple[int, ...]
    colors: Mapping[str, tuple[int, ...]]
    depths: Mapping[str, tuple[int, ...]]


@dataclass
class Choice:
    """The samples of some drives.

    Attributes:
        samples: those of one drive, in order of time.
        skipped: what could not be a sample, in words that follow a number -> how many.
    """

    samples: list[Sample] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


class Protocol(ABC):
    """A way to measure, as a publication describes it; subclasses say it in their docstrings.

    Attributes:
        name: on the command line.
        data: what the published figures are measured on.
        frames: inputs and targets, in words.
        sizes: ``(height, width)`` of images that are published.
        rate: frames per second that are chosen from; None: it does not matter.
        cameras: so many of those that look most to the front are used; None for all.
        between: whether images between keyframes are frames, too.
        several_glances: what is done where the publication has several input frames; None where it has one.
        clamp: whether rendered colors are clamped to [0, 1].
        mask: which pixels count.
        per_image: PSNR of each image, averaged over images; if not, PSNR of all images of a frame together.
        scores: what the publication reports, and which of it there is here.
        choices: what the publication leaves open, with the choice made.
        evaluations: names of ``tools/test.py --eval`` that it has figures of; None for all.
        needs: what data must have for it, with the cure.
    """

    name: ClassVar[str]
    data: ClassVar[str]
    frames: ClassVar[str]
    sizes: ClassVar[tuple[tuple[int, int], ...]]
    rate: ClassVar[float | None] = None
    cameras: ClassVar[int | None] = None
    between: ClassVar[bool] = False
    several_glances: ClassVar[str | None] = None
    clamp: ClassVar[bool] = True
    mask: ClassVar[str] = 'none: all pixels count'
    per_image: ClassVar[bool] = True
    scores: ClassVar[str]
    choices: ClassVar[tuple[str, ...]] = ()
    evaluations: ClassVar[tuple[str, ...] | None] = None
    needs: ClassVar[str]

    @abstractmethod
    def choose(self, drive: Sequence[Frame]) -> Choice:
        """Choose the samples of one scene.

        Args:
            drive: its frames in order of time; without ``between`` keyframes alone.
        """

    def describe(self) -> dict[str, Any]:
        """Return what is printed beside figures and written to their file."""
        psnr = 'of each image, averaged' if self.per_image else 'of all images of a frame together, averaged'
        return {
            'name': self.name,
            'data': self.data,
            'frames': self.frames,
            **({} if self.several_glances is None else {'one glance': self.several_glances}),
            'sizes': [f'{height} x {width}' for height, width in self.sizes],
            'mask': self.mask,
            'colors': 'clamped to [0, 1]' if self.clamp else 'not clamped',
            'psnr': psnr,
            'scores': self.scores,
            'choices': list(self.choices),
        }


def spacing(times: Sequence[float]) -> float:
    """Return the usual seconds between frames; NaN of fewer than two."""
    return float(np.median(np.diff(times))) if len(times) > 1 else float('nan')


def keyframes(drive: Sequence[Frame], period: float = 0.5) -> list[int]:
    """Return the keyframes of a drive that are about ``period`` seconds apart: every n-th of those that there are.

    All of them in nuScenes, which has 2 per second; every fifth in data of which each of 10 per second is a keyframe.
    """
    keys = [number for number, frame in enumerate(drive) if frame.key]
    usual = spacing([drive[number].time for number in keys])
    step = max(1, round(period / usual)) if usual > 0 else 1
    return keys[::step]
