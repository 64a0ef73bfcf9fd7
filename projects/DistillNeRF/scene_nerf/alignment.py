"""Images that were warped into a view, moved onto each other.

Warped by a depth and by poses that are a little off, images show the same thing at places that differ by some pixels,
and what moves at places that differ by more. Averaged, they blur and show ghosts. Between them the optical flow is
known; from each to the view, which nobody took, it is not: but what is off is off in opposite directions in the images
before and after, so that the view lies between them, as the time does.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Flow is used where it makes images more alike, on average over so many pixels around (a standard deviation); between
# what it is there and nothing it changes over this.
AROUND, SOFT = 2.0, 1.5
# The flow needs images of so many pixels at least, in rows and columns.
SMALLEST = 32


def align(colors: Tensor, weights: Tensor, seconds: Tensor, same_camera: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
    """Move warped images to where the view has what they show.

    The nearest images of the same camera before and after meet at the time of the view; the others are moved onto
    these. Nothing is moved where there is none on one side, or one of the same time: it shows most of the view as it
    is, and the others what it does not see.

    Args:
        colors: ``(S, 3, h, w)`` in [0, 1], in the exposure of the view.
        weights: ``(S, h, w)`` what each counts, 0 where it does not see the point.
        seconds: ``(S,)`` time of each minus that of the view.
        same_camera: ``(S,)`` bool, whether the camera of the view took it.
        base: ``(3, h, w)`` stands in for what an image does not see; NaN is black.

    Returns:
        weights and colors.
    """
    references = _references(seconds, same_camera & (weights.flatten(1) > 0).any(1))
    if references is None or min(base.shape[1:]) < SMALLEST:
        return weights, colors
    filled = torch.where(weights[:, None] > 0, colors, base.nan_to_num()).clamp(0, 1)
    weights, colors = weights.clone(), filled.clone()
    first, second = references
    flows = _to_middle(filled[first], filled[second], float(seconds[first] / (seconds[first] - seconds[second])))
    for number, flow in zip(references, flows, strict=True):
        weights[number], colors[number] = _moved(weights[number], filled[number], flow)
    counts = weights[references, None]
    total = counts.sum(0)
    reference = torch.where(total > 0, (counts * colors[references]).sum(0) / total.clamp_min(1e-12), base.nan_to_num())
    for number in range(len(colors)):
        if number in references or not weights[number].any():
            continue
        other = torch.where(weights[number] > 0, filled[number], reference)
        flow = _flow(reference, other)
        flow = flow * _blurred(_helps(reference, other, flow), SOFT)[..., None]
        weights[number], colors[number] = _moved(weights[number], other, flow)
    return weights, colors


def _references(seconds: Tensor, usable: Tensor) -> list[int] | None:
    """Return the nearest usable sources before and after; None if one is missing, or one is of the same time."""
    before, after = (torch.where(usable & side, seconds.abs(), torch.inf) for side in (seconds < 0, seconds > 0))
    if (usable & (seconds == 0)).any() or before.isinf().all() or after.isinf().all():
        return None
    return [int(before.argmin()), int(after.argmin())]


def _to_middle(first: Tensor, second: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return where two images are read by what lies between them, ``share`` of the way: offsets ``(h, w, 2)``."""
    forth, back = _flow(first, second), _flow(second, first)
    helps = _blurred(_helps(first, second, forth) * _helps(second, first, back), SOFT)[..., None]
    forth, back = forth * helps, back * helps
    # What flows into the middle comes from neither image; both flows, as far as each says it, stand in for that.
    rest = 1 - share
    return share * (share * back - rest * forth), rest * (rest * forth - share * back)


def _flow(first: Tensor, second: Tensor) -> Tensor:
    """Return where the second image ``(3, h, w)`` has what the first has, ``(h, w, 2)`` pixels to the right, down."""
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return torch.from_numpy(method.calc(_gray(first), _gray(second), None)).to(first)


def _gray(image: Tensor) -> np.ndarray:
    weights = image.new_tensor([0.299, 0.587, 0.114])[:, None, None]
    return ((image * weights).sum(0) * 255).round().to(torch.uint8).cpu().numpy()


def _helps(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """Return 1 where the second image, moved by the flow, is more like the first than without, ``(h, w)``; else 0."""
    without, moved = ((first - other).abs().mean(0) for other in (second, _read(second, flow)))
    return (_blurred(moved, AROUND) < _blurred(without, AROUND)).to(first.dtype)


def _moved(weights: Tensor, colors: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    moved = _read(torch.cat([weights[None], colors]), flow)
    return moved[0], moved[1:]


def _read(image: Tensor, flow: Tensor) -> Tensor:
    """Read an image ``(C, h, w)`` beside its pixels, bilinear."""
    height, width = image.shape[1:]
    rows, columns = (torch.arange(n, dtype=image.dtype, device=image.device) for n in (height, width))
    u = (columns + flow[..., 0]) * (2 / (width - 1)) - 1
    v = (rows[:, None] + flow[..., 1]) * (2 / (height - 1)) - 1
    grid = torch.stack((u, v), -1)[None]
    return F.grid_sample(image[None], grid, mode='bilinear', padding_mode='border', align_corners=True)[0]


def _blurred(values: Tensor, deviation: float) -> Tensor:
    """Blur ``(h, w)`` by a Gaussian of so many pixels."""
    reach = int(3 * deviation + 0.5)
    places = torch.arange(-reach, reach + 1, dtype=values.dtype, device=values.device)
    kernel = torch.exp(-0.5 * (places / deviation) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(values[None, None], (reach, reach, reach, reach), mode='replicate')
    return F.conv2d(F.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])[0, 0]
