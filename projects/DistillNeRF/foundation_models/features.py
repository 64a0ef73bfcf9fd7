"""Dense features of foundation models: CLIP, DINOv2, SigLIP (1 and 2), and any ONNX model that makes a map.

CLIP and SigLIP 2 were trained to compare one vector of the whole image with words. Their dense features come from what
that vector is pooled from, each patch by itself, so that they lie in the space of words (as MaskCLIP does,
arXiv 2112.01071):

- CLIP: of the last block, the value path alone (norm, value and output projection; no attention to other patches,
  no residual, no MLP), then the norm and the projection that follow the class token;
- SigLIP: of the pooling head, the value path alone, then its residual MLP.

Both are scaled to length 1. DINOv2's are its normed tokens.

``stride``: patches every so many pixels, fewer than a patch has, give a finer map of the same image: the positions are
interpolated, the image gets a margin (:mod:`.preprocess`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..utils.errors import InputError
from .onnx_model import OnnxModel
from .preprocess import BICUBIC, BILINEAR, Framing, Normalization, folder_normalization, patch_framing, whole_framing
from .sources import ModelFolder, load_transformers, move, open_folder, quiet, require_kind, require_package

KINDS = ('clip', 'dino', 'siglip', 'onnx')


class FeatureModel(ABC):
    """A model of dense features.

    Attributes:
        normalization: of its inputs.
        resample: filter that resizes images (:func:`.preprocess.place`).
        settings: everything that its features depend on, as JSON.
    """

    normalization: Normalization
    resample: int = BICUBIC
    settings: dict[str, Any]

    @abstractmethod
    def size_for(self, image: Sequence[int]) -> tuple[int, int]:
        """Return the height and width that images (height, width) are brought to if no size is given.

        Raises:
            InputError: the model does not say.
        """

    @abstractmethod
    def framing(self, size: Sequence[int]) -> Framing:
        """Return where images that are brought to a size (height, width) lie in the input.

        Raises:
            InputError: a size that the model does not take.
        """

    @abstractmethod
    def __call__(self, pixels: Tensor) -> Tensor:
        """Compute the features ``(N, C, rows, columns)`` float32 of placed images ``(N, h, w, 3)``, uint8 or [0, 1].

        The cells cover the image as :mod:`.preprocess` says, not the margin.
        """


class PatchFeatures(FeatureModel):
    """Features of a vision transformer of transformers.

    Args:
        folder: of the model.
        device: where it runs.
        stride: pixels from patch to patch; None: those of a patch.

    Raises:
        InputError: a model of another kind, damaged weights, or no such device or stride.
    """

    default_normalization = 'imagenet'
    what = 'a vision transformer'
    kinds: tuple[str, ...] = ()

    def __init__(self, folder: ModelFolder, device: str, stride: int | None = None) -> None:
        require_kind(folder, self.kinds, self.what)
        self.model = self.load(folder)
        self.patch, self.trained_size = _patches(self.model.config, folder)
        self.stride = self.patch if stride is None else stride
        if not 1 <= self.stride <= self.patch:
            raise InputError(f'--stride {stride}: patches of {folder.path} have {self.patch} pixels; give 1 to that')
        settings = folder.preprocessor()
        self.normalization = folder_normalization(settings, str(folder.path), self.default_normalization)
        # Nearest pixels would be no image of that size.
        self.resample = settings.get('resample', BICUBIC) if settings.get('resample') in (1, 2, 3, 4, 5) else BICUBIC
        self.settings = {
            'weights': folder.digest(),
            'stride': self.stride,
            'mean': list(self.normalization.mean),
            'std': list(self.normalization.std),
            'resample': self.resample,
        }
        move(self.model, device)

    @abstractmethod
    def load(self, folder: ModelFolder) -> nn.Module:
        """Load what computes the features."""

    @abstractmethod
    def tokens(self, images: Tensor) -> Tensor:
        """Compute the features of the patches ``(N, rows, columns, C)`` of normalized images ``(N, 3, h, w)``."""

    def size_for(self, image: Sequence[int]) -> tuple[int, int]:
        """Return the size whose shorter side is that of the training, in the shape of the image."""
        scale = self.trained_size / min(image)
        height, width = (self._whole_cells(axis * scale) for axis in image)
        return height, width

    def framing(self, size: Sequence[int]) -> Framing:
        """Return where images lie in the input; their size there is a multiple of the stride."""
        if any(axis < self.stride or axis % self.stride for axis in size):
            near = ' '.join(str(self._whole_cells(axis)) for axis in size)
            raise InputError(f'--size {size[0]} {size[1]}: give multiples of the stride {self.stride}, such as {near}')
        return patch_framing((size[0] // self.stride, size[1] // self.stride), self.patch, self.stride)

    def _whole_cells(self, pixels: float) -> int:
        return max(1, round(pixels / self.stride)) * self.stride

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Compute features of placed images."""
        images = self.normalization(pixels.to(next(self.model.parameters()).device))
        return self.tokens(images).permute(0, 3, 1, 2).float()

    def grid(self, images: Tensor) -> tuple[int, int]:
        """Return the number of rows and columns of patches."""
        rows, columns = ((axis - self.patch) // self.stride + 1 for axis in images.shape[-2:])
        return rows, columns


class ClipFeatures(PatchFeatures):
    """Dense CLIP features in the space of words, of length 1."""

    default_normalization = 'clip'
    what = 'CLIP'
    kinds = ('clip', 'clip_vision_model')

    def load(self, folder: ModelFolder) -> nn.Module:
        """Load the vision tower with its projection."""
        transformers = require_package('transformers')
        config = None
        if folder.kind == 'clip':
            with quiet(transformers):
                whole = transformers.CLIPConfig.from_pretrained(folder.path)
            config = whole.vision_config
            config.projection_dim = whole.projection_dim
        model = load_transformers(folder, 'CLIPVisionModelWithProjection', config)
        layers = model.vision_model.encoder.layers
        # The last block is used in another way.
        model.vision_model.encoder.layers = layers[:-1]
        model.last_block = layers[-1]
        return model

    def tokens(self, images: Tensor) -> Tensor:
        """Compute the features of the patches."""
        tower = self.model.vision_model
        grid = self.grid(images)
        embeddings = tower.embeddings
        patches = _convolve(embeddings.patch_embedding.weight, embeddings.patch_embedding.bias, images, self.stride)
        positions = embeddings.position_embedding.weight
        start = (embeddings.class_embedding + positions[0]).expand(len(images), 1, -1)
        states = torch.cat([start, patches + resized_positions(positions[1:], grid)], dim=1)
        states = tower.encoder(inputs_embeds=tower.pre_layrnorm(states)).last_hidden_state[:, 1:]
        block = self.model.last_block
        values = block.self_attn.out_proj(block.self_attn.v_proj(block.layer_norm1(states)))
        features = self.model.visual_projection(tower.post_layernorm(values))
        return F.normalize(features, dim=-1).unflatten(1, grid)


class DinoFeatures(PatchFeatures):
    """The normed tokens of DINOv2."""

    what = 'DINOv2'
    kinds = ('dinov2', 'dinov2_with_registers')

    def load(self, folder: ModelFolder) -> nn.Module:
        """Load the model, with registers or without."""
        return load_transformers(folder, 'Dinov2Model' if folder.kind == 'dinov2' else 'Dinov2WithRegistersModel')

    def tokens(self, images: Tensor) -> Tensor:
        """Compute the features of the patches."""
        grid = self.grid(images)
        embeddings = self.model.embeddings
        projection = embeddings.patch_embeddings.projection
        patches = _convolve(projection.weight, projection.bias, images, self.stride)
        positions = embeddings.position_embeddings[0]
        start = [(embeddings.cls_token + positions[0]).expand(len(images), -1, -1)]
        if (registers := getattr(embeddings, 'register_tokens', None)) is not None:
            start.append(registers.expand(len(images), -1, -1))
        # transformers resizes with antialiasing where there are registers.
        placed = resized_positions(positions[1:], grid, antialias=registers is not None)
        states = torch.cat([*start, patches + placed], dim=1)
        states = self.model.layernorm(self.model.encoder(states).last_hidden_state)
        return states[:, -grid[0] * grid[1] :].unflatten(1, grid)


class SiglipFeatures(PatchFeatures):
    """Dense SigLIP features in the space of words, of length 1: SigLIP, and SigLIP 2 of fixed or free size."""

    default_normalization = 'half'
    what = 'SigLIP'
    kinds = ('siglip', 'siglip_vision_model', 'siglip2', 'siglip2_vision_model')

    def load(self, folder: ModelFolder) -> nn.Module:
        """Load the vision tower with its pooling head."""
        self.free = folder.kind.startswith('siglip2')
        model = load_transformers(folder, 'Siglip2VisionModel' if self.free else 'SiglipVisionModel')
        tower = getattr(model, 'vision_model', model)
        if not hasattr(tower, 'head'):
            raise InputError(f'{folder.path}: has no pooling head, so nothing leads to words; give one that has')
        return model

    def tokens(self, images: Tensor) -> Tensor:
        """Compute the features of the patches."""
        tower = getattr(self.model, 'vision_model', self.model)
        grid = self.grid(images)
        embedding = tower.embeddings.patch_embedding
        weight = embedding.weight
        if self.free:
            # A linear layer over the pixels of a patch, row by row, colors last.
            weight = weight.view(len(weight), self.patch, self.patch, 3).permute(0, 3, 1, 2)
        patches = _convolve(weight, embedding.bias, images, self.stride)
        mode = {'mode': 'bilinear', 'antialias': True} if self.free else {}
        positions = resized_positions(tower.embeddings.position_embedding.weight, grid, **mode)
        states = tower.post_layernorm(tower.encoder(inputs_embeds=patches + positions).last_hidden_state)
        return F.normalize(self._pooled_alone(tower.head, states), dim=-1).unflatten(1, grid)

    @staticmethod
    def _pooled_alone(head: nn.Module, states: Tensor) -> Tensor:
        """Return what the pooling head would make of each patch ``(N, P, C)`` if it saw that one alone."""
        attention, channels = head.attention, states.shape[-1]
        values = F.linear(states, attention.in_proj_weight[-channels:], attention.in_proj_bias[-channels:])
        values = attention.out_proj(values)
        return values + head.mlp(head.layernorm(values))


class OnnxFeatures(FeatureModel):
    """A map that an ONNX model makes of an image; its cells are taken to divide the input evenly.

    Args:
        model: the model.
        normalization: of its inputs; no ONNX file says it.
        output: name of the map; None: the first output of four axes.
    """

    resample = BILINEAR

    def __init__(self, model: OnnxModel, normalization: Normalization, output: str | None = None) -> None:
        self.model, self.normalization = model, normalization
        self.output = model.choose_output(output, 4, 'a feature map (N, C, rows, columns)')
        self.settings = {
            'weights': model.digest(),
            'output': self.output,
            'mean': list(normalization.mean),
            'std': list(normalization.std),
            'bgr': normalization.bgr,
            'resample': self.resample,
        }

    def size_for(self, image: Sequence[int]) -> tuple[int, int]:
        """Return the size of the input, if it is fixed."""
        height, width = self.model.size
        if height is None or width is None:
            raise InputError(f'{self.model.path}: takes images of any size; choose one with --size HEIGHT WIDTH')
        return height, width

    def framing(self, size: Sequence[int]) -> Framing:
        """Return where images lie in the input: they fill it."""
        self.model.require_size(size)
        return whole_framing(size)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Compute the map of placed images.

        Raises:
            InputError: the output is no map whose cells divide the input evenly.
        """
        (found,) = self.model(self.normalization(pixels), [self.output])
        what = f'{self.model.path}: its output {self.output} is {found.dtype} {found.shape}'
        if found.ndim != 4 or found.dtype.kind != 'f':
            raise InputError(f'{what}, no feature map; choose another with --output: {", ".join(self.model.outputs)}')
        if self.model.channels_last:
            found = found.transpose(0, 3, 1, 2)
        (height, width), (rows, columns) = pixels.shape[1:3], found.shape[2:]
        if rows * columns < 2 or rows * width != columns * height:
            raise InputError(
                f'{what}, whose {rows}x{columns} cells do not divide {height}x{width} pixels into squares; choose '
                f'another output (--output: {", ".join(self.model.outputs)}), or another --size'
            )
        return torch.from_numpy(found).float()


def open_features(
    kind: str,
    name: str | Path,
    *,
    device: str,
    stride: int | None = None,
    output: str | None = None,
    normalization: Normalization | None = None,
) -> FeatureModel:
    """Open a model of dense features.

    Args:
        kind: one of :data:`KINDS`.
        name: a folder, the name of a model in the local cache of the hub, or an ONNX file.
        device: where it runs.
        stride: of patches, for transformers.
        output: name of the map, for ONNX.
        normalization: of the inputs, for ONNX.

    Raises:
        InputError: a missing or damaged model, or one of another kind.
    """
    if kind == 'onnx':
        assert normalization is not None
        return OnnxFeatures(OnnxModel(name, device), normalization, output)
    classes = {'clip': ClipFeatures, 'dino': DinoFeatures, 'siglip': SiglipFeatures}
    return classes[kind](open_folder(name), device, stride)


def resized_positions(
    positions: Tensor, grid: tuple[int, int], mode: str = 'bicubic', antialias: bool = False
) -> Tensor:
    """Resize the embeddings ``(P, C)`` of a square of positions to ``(rows * columns, C)``, as transformers does.

    Args:
        positions: row by row.
        grid: rows and columns.
        mode, antialias: of the interpolation; models differ.
    """
    side = round(len(positions) ** 0.5)
    if grid == (side, side):
        return positions
    square = positions.unflatten(0, (side, side)).permute(2, 0, 1)[None].float()
    resized = F.interpolate(square, size=grid, mode=mode, antialias=antialias, align_corners=False)
    return resized[0].flatten(1).T.to(positions.dtype)


def _convolve(weight: Tensor, bias: Tensor | None, images: Tensor, stride: int) -> Tensor:
    """Embed patches: ``(N, rows * columns, C)``."""
    return F.conv2d(images, weight, bias, stride=stride).flatten(2).transpose(1, 2)


def _patches(config: Any, folder: ModelFolder) -> tuple[int, int]:
    """Return the pixels of a patch, and those of an image as it was trained, per side."""
    patch = config.patch_size
    size = getattr(config, 'image_size', None) or round(config.num_patches**0.5) * patch
    if not isinstance(patch, int) or not isinstance(size, int):
        raise InputError(f'{folder.path}: patches of {patch} in images of {size} pixels are no squares; give another')
    return patch, size
