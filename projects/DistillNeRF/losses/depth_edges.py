"""Where the predicted depth jumps: the pixels that depth losses may weigh more (Canny, 1986)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

# The scale on which jumps are measured: 256 steps over the logarithm of depth between these, metres.
NEAREST, FARTHEST = 2.0, 80.0
# Canny's two thresholds on the Sobel gradient of that scale. A step edge has four times its height, so an edge begins
# where depth grows by a half and is followed as long as it grows by a fifth.
WEAK, STRONG = 50.0, 112.0


def near_depth_edges(depth: Tensor, distance: int) -> Tensor:
    """Pixels at most ``distance`` pixels (along rows and columns) from an edge of the depth.

    Args:
        depth: ``(V, h, w)`` metres, finite.

    Returns:
        ``(V, h, w)`` bool, on the device of ``depth``; carries no gradient.
    """
    logs = (depth.detach().float().clamp(NEAREST, FARTHEST) / NEAREST).log() / np.log(FARTHEST / NEAREST)
    shades = (logs * 255).round().byte().cpu().numpy()
    edges = np.stack([cv2.Canny(shade, WEAK, STRONG) for shade in shades]) if len(shades) else shades
    square = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    near = np.stack([cv2.dilate(edge, square) for edge in edges]) if len(edges) else edges
    return torch.from_numpy(near > 0).to(depth.device)
