"""The frozen depth network: read from its own file, and never saved with the trained network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..modules.depth_anything import DepthAnything, load_depth_anything
from ..utils.errors import InputError
from ..utils.torch_files import load_torch

HINT = (
    'put the weights of Depth-Anything v1 ViT-B (depth_anything_vitb14.pth) there, '
    'or say where they are with model.network.depth_weights'
)


class FrozenDepth:
    """Compute frozen-depth features of images.

    The weights are read at the first call and follow the images to their device. It is no ``nn.Module``, so that no
    checkpoint and no optimizer holds the 97 million frozen weights.

    Args:
        path: file of the weights; ``None`` where no call follows.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = path
        self._network: DepthAnything | None = None

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Compute features ``(N, 128, H, W)`` of RGB ``(N, 3, H, W)`` in [0, 1], image by image.

        Raises:
            InputError: the weights are missing or not those of this network.
        """
        if self._network is None:
            assert self.path is not None
            self._network = read_depth_anything(self.path)
        self._network.to(images.device, images.dtype)
        return torch.cat([self._network(image) for image in images.split(1)])


def read_depth_anything(path: str | Path) -> DepthAnything:
    """Build the frozen network with the weights of a file.

    Raises:
        InputError: missing, damaged, or not of this network.
    """
    try:
        return load_depth_anything(load_torch(path, 'file of Depth-Anything weights', HINT))
    except InputError:
        raise
    except Exception as error:  # what another file holds can fail in nearly any way
        cause = ' '.join(str(error).split())[:200]
        raise InputError(
            f'{path}: not weights of Depth-Anything ViT-B ({type(error).__name__}: {cause}); {HINT}'
        ) from error
