"""Networks that make maps of images: what goes in, in which size, and how they are run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..utils.errors import InputError
from ..utils.files import read_json
from ..utils.provenance import fingerprint
from .input_size import GIVE_SIZE, preprocessor_size
from .onnx_model import OnnxModel
from .preprocess import (
    BILINEAR,
    NORMALIZATIONS,
    Normalization,
    folder_normalization,
    named_normalization,
    place,
    whole_framing,
)
from .sources import ModelFolder

Size = tuple[int, int]


@dataclass(frozen=True)
class MapNetwork:
    """A network of maps ``(C, h, w)`` that span its images from edge to edge.

    Attributes:
        where: its folder or file, for messages.
        run: maps normalized images ``(n, 3, H, W)`` to maps ``(n, C, h, w)``.
        size_of: returns the (height, width) in which it sees an image of a (height, width).
        normalization: of its input.
        resample: filter of Pillow that resizes images.
        digest: of its weights and settings.
        device: where it computes; None: where its inputs are, on the processor.
    """

    where: str
    run: Callable[[Tensor], Tensor]
    size_of: Callable[[Size], Size]
    normalization: Normalization
    resample: int
    digest: str
    device: str | None = None

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Resize an RGB image ``(H, W, 3)`` uint8 as the network sees it, ``(h, w, 3)`` uint8."""
        return place(image, whole_framing(self.size_of((image.shape[0], image.shape[1]))), self.resample)

    @torch.no_grad()
    def __call__(self, prepared: np.ndarray) -> Tensor:
        """Compute the maps ``(n, C, h, w)``, float32 on the CPU, of prepared images ``(n, h, w, 3)`` uint8.

        Raises:
            InputError: the maps hold NaN, as those of damaged weights do, or the network fails on this size.
        """
        images = torch.from_numpy(prepared)
        images = self.normalization(images if self.device is None else images.to(self.device))
        try:
            maps = self.run(images).float().cpu()
        except (RuntimeError, ValueError) as error:  # sizes that a network cannot take fail in many ways
            cause = ' '.join(str(error).split())[:200]
            raise InputError(
                f'{self.where}: fails on images of {tuple(images.shape)} ({cause}); {GIVE_SIZE}'
            ) from error
        if not maps.isfinite().all():
            raise InputError(f'{self.where}: gives NaN or infinity; its weights are damaged: fetch the model again')
        return maps


def transformers_network(
    folder: ModelFolder, run: Callable[[Tensor], Tensor], input_size: Size | None, device: str
) -> MapNetwork:
    """Describe a network of transformers, which sees images as its preprocessor says.

    Args:
        folder: of the model.
        run: its function.
        input_size: (height, width) in which it sees all images; None: as its preprocessor says.
        device: where ``run`` computes.

    Raises:
        InputError: its preprocessor is missing or damaged, or says nothing of a size.
    """
    settings, where = folder.preprocessor(), str(folder.path)
    # At once, not at the first image.
    preprocessor_size(settings if input_size is None else {**settings, **_fixed(input_size)}, (900, 1600), where)
    resample = settings.get('resample', BILINEAR)
    if type(resample) is not int or not 0 <= resample <= 5:
        raise InputError(f'{where}: resample of its preprocessor_config.json is {resample!r}; fetch the model again')

    def size_of(image: Size) -> Size:
        return preprocessor_size(settings, image, where) if input_size is None else input_size

    digest = fingerprint(model=folder.digest(), input_size=input_size)
    return MapNetwork(where, run, size_of, folder_normalization(settings, where, 'imagenet'), resample, digest, device)


def _fixed(size: Size) -> dict[str, Any]:
    return {'do_center_crop': False, 'keep_aspect_ratio': False, 'size': {'height': size[0], 'width': size[1]}}


@dataclass(frozen=True)
class OnnxDescription:
    """What an ONNX file does not say itself.

    Attributes:
        normalization: of its input; None: unknown.
        classes: names of the channels of its output; None: unknown.
    """

    normalization: Normalization | None
    classes: tuple[str, ...] | None


def describe_onnx(path: str | Path, normalization: str | None, bgr: bool) -> OnnxDescription:
    """Read the JSON of the same name beside an ONNX file, if there is one; options of the command line come first.

    Of ``{"input": {"scale", "mean", "std", "channel_order"}, "classes": [...]}`` what is there: an input is ``(pixel *
    scale - mean) / std`` of pixels of 0 to 255, with mean and std in the order red, green, blue whatever comes first.

    Args:
        path: the ONNX file.
        normalization: name of one of :data:`.preprocess.NORMALIZATIONS`; None: that of the JSON.
        bgr: whether the network takes blue first; only with ``normalization``.

    Raises:
        InputError: a JSON that says something else.
    """
    about = Path(path).expanduser().with_suffix('.json')
    content = read_json(about, 'correct or remove it') if about.is_file() else {}
    entry = content.get('input', {}) if isinstance(content, dict) else None
    classes = content.get('classes') if isinstance(content, dict) else None
    names = isinstance(classes, list) and classes and all(isinstance(name, str) for name in classes)
    if not isinstance(entry, dict) or not (classes is None or names):
        raise InputError(f'{about}: is no description of an ONNX model (docs/TEACHERS.md); correct or remove it')
    if normalization is not None:
        found: Normalization | None = named_normalization(normalization, bgr)
    else:
        found = _normalization(entry, about) if {'mean', 'std', 'scale'} & set(entry) else None
    return OnnxDescription(found, None if classes is None else tuple(classes))


def _normalization(entry: dict[str, Any], about: Path) -> Normalization:
    """Return the normalization that a JSON describes."""
    order = str(entry.get('channel_order', 'RGB')).upper()
    try:
        scale = 255 * float(entry.get('scale', 1.0))
        mean, std = ([float(value) / scale for value in entry.get(key, fill)] for key, fill in _PLAIN.items())
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f'{about}: scale, mean or std are no numbers ({error}); correct or remove it') from error
    if order not in ('RGB', 'BGR') or len(mean) != 3 or len(std) != 3 or not all(std):
        raise InputError(
            f'{about}: its input is {order} with {len(mean)} means and {len(std)} deviations; give 3 of each that are '
            'not 0, and channel_order RGB or BGR'
        )
    return Normalization((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), order == 'BGR')


_PLAIN = {'mean': (0.0, 0.0, 0.0), 'std': (1.0, 1.0, 1.0)}


def onnx_network(
    path: str | Path,
    run: Callable[[OnnxModel], Callable[[Tensor], Tensor]],
    described: OnnxDescription,
    input_size: Size | None,
    device: str,
) -> MapNetwork:
    """Open an ONNX model.

    Args:
        path: the file.
        run: makes the function of the model.
        described: what is known of it.
        input_size: (height, width) in which it sees images; None: that of its input.
        device: where it computes.

    Raises:
        InputError: a damaged file, another size than it takes, or nothing says how its input is normalized.
    """
    model = OnnxModel(path, device)
    if described.normalization is None:
        raise InputError(
            f'{path}: nothing says how its input is normalized; choose --normalize {"|".join(NORMALIZATIONS)}, or '
            f'describe it in {Path(path).with_suffix(".json").name} (docs/TEACHERS.md)'
        )
    if input_size is not None:
        model.require_size(input_size)
    size = model.size if input_size is None else input_size
    if None in size:
        raise InputError(f'{path}: its input may have any size; {GIVE_SIZE}')
    fixed: Size = (int(size[0]), int(size[1]))
    normalization = described.normalization
    parts = {'mean': normalization.mean, 'std': normalization.std, 'bgr': normalization.bgr, 'size': fixed}
    digest = fingerprint(model=model.digest(), **parts)
    return MapNetwork(str(path), run(model), lambda image: fixed, normalization, BILINEAR, digest)


def require_axes(found: np.ndarray, model: OnnxModel, what: str) -> Tensor:
    """Return an output ``(n, C, h, w)``, ``(n, h, w, C)`` or ``(n, h, w)`` of a model as ``(n, C, h, w)``.

    Raises:
        InputError: it has other axes.
    """
    maps = torch.from_numpy(found)
    if maps.ndim == 3:
        return maps[:, None]
    if maps.ndim != 4:
        raise InputError(
            f'{model.path}: gives {tuple(maps.shape)}, which is no {what}; give another model, or --output'
        )
    return maps.permute(0, 3, 1, 2) if model.channels_last else maps
