"""The frozen depth network: read from its own file, and never saved with the trained network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..modules.chunked import keeps_in_cache
from ..modules.depth_anything import DepthAnything, load_depth_anything
from ..utils.errors import InputError
from ..utils.torch_files import load_torch

HINT = (
    'put the weights of Depth-Anything v1 ViT-B (depth_anything_vitb14.pth) there, '
    'or say where they are with model.network.depth_weights'
)


# Layers whose products autocast computes in half precision; it leaves the others in float32.
PRODUCTS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


class FrozenDepth:
    """Compute frozen-depth features of images.

    The weights are read at the first call and follow the images to their device. Under autocast those that it would
    convert at each call are stored in its precision; a run that uses two precisions keeps the weights in both. It is no
    ``nn.Module``, so that no checkpoint and no optimizer holds the 97 million frozen weights.

    Args:
        path: file of the weights; ``None`` where no call follows.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = path
        # By the precision of the images, and that of products.
        self._networks: dict[tuple[torch.dtype, torch.dtype], DepthAnything] = {}

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Compute features ``(N, 128, H, W)`` of RGB ``(N, 3, H, W)`` in [0, 1].

        On a CPU image by image, which is not slower there and needs less memory; elsewhere all at once.

        Raises:
            InputError: the weights are missing or not those of this network.
        """
        network = self._network(images)
        if keeps_in_cache(images.device):
            return torch.cat([network(image) for image in images.split(1)])
        return network(images)

    def _network(self, images: Tensor) -> DepthAnything:
        """Return the network in the precision of the images and of autocast, on the device of the images."""
        kind = images.device.type
        products = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else images.dtype
        key = images.dtype, products
        if key not in self._networks:
            assert self.path is not None
            network = read_depth_anything(self.path).to(images.device, images.dtype)
            for module in network.modules():
                if isinstance(module, PRODUCTS):
                    module.to(products)
            self._networks[key] = network
        network = self._networks[key]
        if next(network.parameters()).device != images.device:
            network.to(images.device)
        return network


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
