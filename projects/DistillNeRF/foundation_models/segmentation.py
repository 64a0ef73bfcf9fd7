"""Classes of pixels from the output of segmentation networks, and the networks.

Scores are maps ``(C, h, w)`` that span their image from edge to edge, whatever their size.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils.errors import InputError
from .map_network import MapNetwork, Size, describe_onnx, onnx_network, require_axes, transformers_network
from .onnx_model import OnnxModel
from .sources import load_transformers, move, open_folder, require_kind

SKY = 'sky'
# Of a number of a class: none of those that are asked for.
OTHER = 255
# Probability of the sky from which on a pixel is sky, of networks that know nothing else.
HALF = 0.5
# Kind of model -> its class in transformers.
KINDS = {'segformer': 'SegformerForSemanticSegmentation', 'mask2former': 'Mask2FormerForUniversalSegmentation'}


@dataclass(frozen=True)
class ClassNames:
    """What the channels of a segmentation network are.

    Attributes:
        names: of the channels; a channel may have several, separated by commas, as those of ADE20K do.
        where: the network, for messages.
    """

    names: tuple[str, ...]
    where: str

    @property
    def sky(self) -> int:
        """Return the channel of the sky.

        Raises:
            InputError: there is none, or there are several.
        """
        channels = [number for number, name in enumerate(self.names) if SKY in _words(name)]
        if len(channels) != 1:
            found = f'{len(channels)} classes' if channels else 'no class'
            raise InputError(
                f'{self.where}: has {found} named {SKY} among its {len(self.names)} ({_some(self.names)}); use a '
                'network of Cityscapes or ADE20K, or say which channel it is with --sky-class NUMBER'
            )
        return channels[0]

    def numbers_among(self, wanted: Sequence[str], what: str) -> tuple[Tensor, list[str]]:
        """Return the place ``(C,)`` uint8 of each channel among wanted names, ``OTHER`` for none, and those others.

        Args:
            wanted: names of classes.
            what: they are of, for messages.

        Raises:
            InputError: no channel is one of them, or two are the same.
        """
        numbers = [next((wanted.index(word) for word in _words(name) if word in wanted), None) for name in self.names]
        known = [number for number in numbers if number is not None]
        if not known:
            raise InputError(
                f'{self.where}: none of its classes ({_some(self.names)}) is one of {what}; use a network that was '
                f'trained on {what}, or leave labels and movable out of --maps'
            )
        if twice := [wanted[number] for number in known if known.count(number) > 1]:
            raise InputError(f'{self.where}: has several classes named {twice[0]}; correct its id2label or classes')
        table = torch.tensor([OTHER if number is None else number for number in numbers], dtype=torch.uint8)
        return table, [name for name, number in zip(self.names, numbers, strict=True) if number is None]


def _words(name: str) -> list[str]:
    """Split and simplify the name of a class: ``Traffic-Light; lamp`` is ``traffic light`` and ``lamp``."""
    return [' '.join(re.split(r'[\s_-]+', word.strip().lower())) for word in re.split(r'[,;]', name)]


def _some(names: Sequence[str], most: int = 6) -> str:
    return ', '.join(names[:most]) + (', ...' if len(names) > most else '')


@dataclass(frozen=True)
class Segmenter:
    """A segmentation network.

    Attributes:
        network: makes the scores; of one channel: the probability of the sky.
        classes: names of the channels; None: unknown.
    """

    network: MapNetwork
    classes: ClassNames | None

    def check_channels(self, scores: Tensor) -> None:
        """Check that scores ``(n, C, h, w)`` have a channel per class.

        Raises:
            InputError: they do not.
        """
        if self.classes is not None and scores.shape[1] != len(self.classes.names):
            raise InputError(
                f'{self.network.where}: gives {scores.shape[1]} channels, but {len(self.classes.names)} classes are '
                'named; correct their list'
            )


def transformers_segmenter(name: str | Path, input_size: Size | None, device: str) -> Segmenter:
    """Open a SegFormer or Mask2Former of transformers.

    Args:
        name: folder, or name on the hub of a model in the local cache.
        input_size: (height, width) in which it sees images; None: as its preprocessor says.
        device: where it computes.

    Raises:
        InputError: another or a damaged model.
    """
    folder = open_folder(name)
    require_kind(folder, tuple(KINDS), 'a segmentation network')
    model = move(load_transformers(folder, KINDS[folder.kind]), device)
    names = model.config.id2label
    where = str(folder.path)
    classes = ClassNames(tuple(str(names[number]) for number in sorted(names)), where)

    def run(images: Tensor) -> Tensor:
        found = model(pixel_values=images)
        if 'logits' in found:
            return found.logits
        return queries_to_scores(found.class_queries_logits, found.masks_queries_logits)

    return Segmenter(transformers_network(folder, run, input_size, device), classes)


@dataclass(frozen=True)
class OnnxOptions:
    """What the command line says of an ONNX model; None: what the JSON beside it says, or what it has first.

    Attributes:
        device: where it computes.
        normalization: name of the normalization of its input (:data:`.preprocess.NORMALIZATIONS`).
        bgr: whether it takes blue first.
        output: name of the output.
        input_size: (height, width) in which it sees images.
    """

    device: str
    normalization: str | None = None
    bgr: bool = False
    output: str | None = None
    input_size: Size | None = None


def onnx_segmenter(path: str | Path, options: OnnxOptions) -> Segmenter:
    """Open a segmentation network in an ONNX file: scores of classes, or one channel, the probability of the sky.

    Raises:
        InputError: a damaged file, or one that is no such network.
    """
    described = describe_onnx(path, options.normalization, options.bgr)
    network = onnx_network(
        path, first_map(options.output, 'map of scores'), described, options.input_size, options.device
    )
    classes = None if described.classes is None else ClassNames(described.classes, str(path))
    return Segmenter(network, classes)


def first_map(name: str | None, what: str) -> Callable[[OnnxModel], Callable[[Tensor], Tensor]]:
    """Return what makes the function of an ONNX model: from images to an output of four axes, or else of three.

    Args:
        name: of the output; None: the first that fits.
        what: it is, for messages.
    """

    def function_of(model: OnnxModel) -> Callable[[Tensor], Tensor]:
        try:
            output = model.choose_output(name, 4, what)
        except InputError:
            output = model.choose_output(name, 3, what)
        return lambda images: require_axes(model(images, [output])[0], model, what)

    return function_of


def queries_to_scores(classes: Tensor, masks: Tensor) -> Tensor:
    """Combine the queries of Mask2Former to scores ``(n, C, h, w)``.

    Args:
        classes: ``(n, q, C + 1)`` logits; the last class is nothing.
        masks: ``(n, q, h, w)`` logits.
    """
    return torch.einsum('nqc,nqhw->nchw', classes.softmax(-1)[..., :-1], masks.sigmoid())


def resize_scores(scores: Tensor, size: Size) -> Tensor:
    """Resize scores ``(C, h, w)`` to ``(height, width)``: bilinearly, with a wider filter along axes that get smaller.

    Pixels span the image from edge to edge in both sizes, so nothing is shifted.
    """
    if tuple(scores.shape[-2:]) == tuple(size):
        return scores
    return F.interpolate(scores[None], size=size, mode='bilinear', align_corners=False, antialias=True)[0]


def map_size(image: Size, maps: Size) -> Size:
    """Return the (height, width) in which a map loses nothing: of the shape of the image, not larger than that.

    Args:
        image: (height, width).
        maps: (height, width) of what a network gives, of any shape.
    """
    height, width = image
    share = min(1.0, max(side / whole for side, whole in zip(maps, image, strict=True)))
    # The longer side follows the shorter: nearest to the shape of the image.
    if height <= width:
        rows = max(1, round(share * height))
        return rows, max(1, round(rows * width / height))
    columns = max(1, round(share * width))
    return max(1, round(columns * height / width)), columns


def sky_of_probability(probability: Tensor, threshold: float | None, where: str) -> Tensor:
    """Return where the sky is, bool of the same shape.

    Args:
        probability: of the sky.
        threshold: what is above it is sky; None: a half, of probabilities.
        where: the network, for messages.

    Raises:
        InputError: these are no probabilities, and there is no threshold.
    """
    if threshold is None:
        low, high = float(probability.min()), float(probability.max())
        # Resizing and half precision round.
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            raise InputError(
                f'{where}: its one channel is {low:.3g} to {high:.3g}, no probability of the sky; say with --threshold '
                'NUMBER from which on it is sky (0 for logits), or give a model of the sky'
            )
        threshold = HALF
    return probability > threshold
