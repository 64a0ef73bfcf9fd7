"""Depth networks: meters, or depth or inverse depth up to a scale and a shift."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from ..utils.errors import InputError
from .map_network import MapNetwork, Size, describe_onnx, onnx_network, transformers_network
from .segmentation import OnnxOptions, first_map
from .sources import load_transformers, move, open_folder, require_kind

METRIC, DEPTH, INVERSE = OUTPUTS = ('metric', 'depth', 'inverse')
# Depth Anything 1 and 2. Version 3 is no class of transformers (5.24): an ONNX file of it can be given.
KINDS = {'depth_anything': 'DepthAnythingForDepthEstimation'}
# Share of the greatest depth that a network can say from which on it only means far away.
FAR = 0.97


@dataclass(frozen=True)
class DepthNetwork:
    """A depth network.

    Attributes:
        network: makes its maps, of one channel.
        output: ``metric``: z in meters; ``depth``, ``inverse``: depth, inverse depth, up to a scale and a shift.
        farthest: meters; what is at this depth or beyond is unknown. None: it has no such end.
    """

    network: MapNetwork
    output: str
    farthest: float | None = None

    @property
    def inverse(self) -> bool:
        """Return whether its maps are inverse depth."""
        return self.output == INVERSE

    def __call__(self, prepared: np.ndarray) -> np.ndarray:
        """Compute the maps ``(n, h, w)`` float32 of prepared images ``(n, H, W, 3)``; NaN where they end.

        Raises:
            InputError: it gives several channels, or meters below zero.
        """
        maps = self.network(prepared)
        if maps.shape[1] != 1:
            raise InputError(
                f'{self.network.where}: gives {maps.shape[1]} channels, not a depth; give a depth network, or choose '
                'another output with --output'
            )
        found = maps[:, 0].numpy()
        if self.output == METRIC and found.min() < 0:
            raise InputError(
                f'{self.network.where}: gives depths down to {found.min():.3g} m; say with --gives depth or inverse '
                'what its maps are'
            )
        return found if self.farthest is None else np.where(found < FAR * self.farthest, found, np.float32(np.nan))


def transformers_depth(name: str | Path, input_size: Size | None, device: str) -> DepthNetwork:
    """Open a Depth Anything of transformers; its config says whether it gives meters or inverse depth.

    Args:
        name: folder, or name on the hub of a model in the local cache.
        input_size: (height, width) in which it sees images; None: as its preprocessor says.
        device: where it computes.

    Raises:
        InputError: another or a damaged model.
    """
    folder = open_folder(name)
    require_kind(folder, tuple(KINDS), 'a depth network')
    model = move(load_transformers(folder, KINDS[folder.kind]), device)
    metric = model.config.depth_estimation_type == 'metric'

    def run(images: Tensor) -> Tensor:
        return model(pixel_values=images).predicted_depth[:, None]

    network = transformers_network(folder, run, input_size, device)
    # Meters come from a sigmoid: at its end lies all that is farther, the sky, too.
    return DepthNetwork(network, METRIC if metric else INVERSE, float(model.config.max_depth) if metric else None)


def onnx_depth(path: str | Path, output: str, options: OnnxOptions) -> DepthNetwork:
    """Open a depth network in an ONNX file.

    Args:
        path: the file.
        output: what its maps are, one of :data:`OUTPUTS`.
        options: what is known of it.

    Raises:
        InputError: a damaged file, or one that is no such network.
    """
    described = describe_onnx(path, options.normalization, options.bgr)
    run = first_map(options.output, 'map of depth')
    return DepthNetwork(onnx_network(path, run, described, options.input_size, options.device), output)
