"""What a checkpoint says about the drive that it was trained on: a few bytes that tell it from other ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..utils.errors import InputError, warn
from ..utils.provenance import fingerprint
from .drive import DriveImage


def identify(scene: str, images: Sequence[DriveImage]) -> Tensor:
    """Return what tells a drive and its training images from others, ``(n,)`` uint8: JSON.

    Files may lie in another folder, and images may be trained on in another size. The order of the images counts, as
    each has an exposure of its own.
    """
    named = [[image.camera, round(image.timestamp * 1000), Path(image.path).name] for image in images]
    text = json.dumps({'scene': scene, 'images': len(images), 'digest': fingerprint(images=named)})
    return torch.from_numpy(np.frombuffer(text.encode(), np.uint8).copy())


def check_identity(
    stored: Tensor, count: int, scene: str, images: Sequence[DriveImage], checkpoint: str | Path, where: str
) -> None:
    """Check that a field was trained on these images.

    A checkpoint of before this was stored is taken with a warning if the number of images is the same: it took long to
    train, and may well be right.

    Args:
        stored: what :func:`identify` returned at the training; empty if it is not known.
        count: number of the images that it was trained on.
        scene: name of the scene.
        images: the training images, in order.
        checkpoint: its file.
        where: the config.

    Raises:
        InputError: it was trained on others.
    """
    hint = 'give the config that it was trained with, which lies beside it'
    own, trained = _read(identify(scene, images)), _read(stored)
    if trained is not None and trained.get('scene') != scene:
        raise InputError(
            f'{checkpoint}: is of scene {trained.get("scene")}, but {where} names scene {scene}; {hint}, or choose '
            f'scene_nerf.scene={trained.get("scene")}'
        )
    if count != len(images):
        raise InputError(f'{checkpoint}: was trained on {count} images, but {where} names {len(images)}; {hint}')
    if trained is None:
        warn(
            f'{checkpoint}: does not tell which drive it was trained on, as it is of an earlier version: taken for one '
            f'of scene {scene}, as both have {count} images; train it again if pictures and depth do not fit'
        )
    elif trained != own:
        raise InputError(
            f'{checkpoint}: was trained on other {count} images of scene {scene} than {where} names, or in another '
            f'order; {hint}'
        )


def _read(stored: Tensor) -> dict[str, object] | None:
    """Return the record; None if there is none."""
    if not len(stored):
        return None
    try:
        record = json.loads(stored.cpu().numpy().tobytes().decode())
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
