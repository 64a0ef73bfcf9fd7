"""The frozen depth network: read from its own file, and never saved with the trained network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..modules.chunked import keeps_in_cache
from ..modules.depth_anything import DepthAnything, load_depth_anything
from ..utils.errors import InputError
from ..utils.files import is_folder, require_file
from ..utils.provenance import fingerprint
from ..utils.torch_files import load_torch
from .depth_folder import CONFIG, read_depth_folder, weight_files

HINT = (
    'get the weights of Depth-Anything v1 ViT-B (depth_anything_vitb14.pth) with: '
    'python tools/get_weights.py depth-anything-v1, or say where they are with model.network.depth_weights'
)
# In the names of published files of v2: the same names and shapes of weights, but the head reads other blocks.
V2 = '_v2_'

# Layers whose products autocast computes in half precision; it leaves the others in float32.
PRODUCTS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


class FrozenDepth:
    """Compute frozen-depth features of images.

    The weights are read at the first call and follow the images to their device. Under autocast those that it would
    convert at each call are stored in its precision; a run that uses two precisions keeps the weights in both. It is no
    ``nn.Module``, so that no checkpoint and no optimizer holds the 97 million frozen weights.

    Args:
        path: file or folder of the weights; ``None`` where no call follows.
        channels: of the features that are expected; ``None`` for any.
    """

    def __init__(self, path: str | Path | None, channels: int | None = None) -> None:
        self.path = path
        self.channels = channels
        # By the precision of the images, and that of products.
        self._networks: dict[tuple[torch.dtype, torch.dtype], DepthAnything] = {}

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Compute features ``(N, C, H, W)`` of RGB ``(N, 3, H, W)`` in [0, 1]; C is 128 with ViT-B.

        On a CPU image by image, which is not slower there and needs less memory; elsewhere all at once.

        Raises:
            InputError: the weights are missing or not those of this network, or give another number of channels.
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
            network = read_depth_anything(self.path)
            if self.channels is not None and network.channels != self.channels:
                raise InputError(
                    f'{self.path}: gives features of {network.channels} channels, and the network was built for '
                    f'{self.channels}; set model.network.coarse.depth_channels={network.channels}, or give others'
                )
            network.to(images.device, images.dtype)
            for module in network.modules():
                if isinstance(module, PRODUCTS):
                    module.to(products)
            self._networks[key] = network
        network = self._networks[key]
        if next(network.parameters()).device != images.device:
            network.to(images.device)
        return network


def read_depth_anything(path: str | Path) -> DepthAnything:
    """Build the frozen network with the weights of a published file of v1, or of a folder of the hub (v1 or v2).

    Raises:
        InputError: missing, damaged, or not of this network.
    """
    if is_folder(path):
        return read_depth_folder(path)
    if V2 in Path(path).name:
        raise InputError(
            f'{path}: weights of v2 in this format do not say which blocks are read; give a folder of v2 for '
            'transformers, such as: python tools/get_weights.py depth-anything-v2-base'
        )
    try:
        return load_depth_anything(load_torch(path, 'file of Depth-Anything weights', HINT))
    except InputError:
        raise
    except Exception as error:  # what another file holds can fail in nearly any way
        cause = ' '.join(str(error).split())[:200]
        raise InputError(
            f'{path}: not weights of Depth-Anything ViT-B ({type(error).__name__}: {cause}); {HINT}'
        ) from error


def weights_fingerprint(path: str | Path) -> str:
    """Compute a digest of all that the frozen network is read from: a file, or configuration and weights of a folder.

    Raises:
        InputError: a file is missing.
    """
    if not is_folder(path):
        return fingerprint(weights=require_file(path, HINT))
    folder = Path(path)
    files = [require_file(folder / CONFIG, HINT), *weight_files(folder)]
    return fingerprint(**{file.name: file for file in files})
