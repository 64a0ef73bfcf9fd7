"""How the cameras of a drive have to be turned to see what its field shows.

What a field shows of an image that it was trained on is what the other images say, too. Where the pose of the image is
off, the image is shifted against it. A turn moves all pixels in a way that does not depend on depth: it is found by
Gauss-Newton steps that make the colors alike, robustly, at the pixels that tell most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.cameras import Cameras
from ..geometry.matrices import inverse
from .drive import DriveImage
from .field import SceneField
from .marching import Rays
from .turns import rotate, turn_image
from .warping import read_maps

# No more pixels of an image are compared.
PIXELS = 8192
# Where things move by more than this share, nothing is compared.
MOVING = 0.1
# Poses are off by about so much (a standard deviation), and by no more than that, radians.
USUAL, LARGEST = 0.005, 0.01
# Errors of neighboring pixels are alike: so many of them tell as much as one.
ALIKE = 50
# Colors that differ less than this, of 0 to 1, are not told apart.
SMALLEST = 0.01
STEPS = 8


@torch.no_grad()
def find_turns(field: SceneField, images: Sequence[DriveImage], pixels: Tensor, turns: Tensor | None = None) -> Tensor:
    """Compare all training images with a field.

    Args:
        field: the field; not in training mode.
        images: the training images, in the order of its exposures, as recorded.
        pixels: ``(n, h, w, 3)`` uint8, what they show.
        turns: ``(n, 3)`` by which they are turned so far; None: not at all.

    Returns:
        ``(n, 3)`` by which they are to be turned instead.
    """
    found = field.exposure.new_zeros(len(images), 3) if turns is None else turns.clone()
    for number, image in enumerate(images):
        now = turn_image(image, found[number])
        camera = now.camera_at(*pixels.shape[1:3]).to(found)
        colors = pixels[number].to(found.device).permute(2, 0, 1).to(found.dtype) / 255
        own_car = torch.from_numpy(now.own_car_mask(*pixels.shape[1:3])).to(found.device)
        places = textured_places(colors, ~own_car)
        if len(places):
            shown, still = _shown(field, camera, places, number, image.timestamp)
            rotation = camera.cam2world[0, :3, :3]
            before = found[number] @ rotation
            found[number] = rotation @ find_turn(colors, camera.intrinsics[0], places, shown, still, before)
    return found


def _shown(field: SceneField, camera: Cameras, places: Tensor, number: int, time: float) -> tuple[Tensor, Tensor]:
    """Return the colors ``(n, 3)`` that a field shows at pixels ``(n, 2)`` of an image, and what stands ``(n,)``."""
    directions = F.normalize(_rays(camera.intrinsics[0], places) @ camera.cam2world[0, :3, :3].T, dim=1)
    origins = camera.cam2world[:, :3, 3].expand_as(directions).contiguous()
    times = torch.full((len(places),), time, dtype=torch.float64, device=places.device)
    outputs = field.march(Rays.centered(origins, directions), times)
    images = torch.full((len(places),), number, device=places.device)
    return field.exposed(field.color(outputs, directions), images).clamp(0, 1), outputs.moving < MOVING


def textured_places(image: Tensor, usable: Tensor) -> Tensor:
    """Choose pixels with texture, the one with most of it in each cell of the image, away from its border.

    Args:
        image: ``(3, h, w)`` in [0, 1].
        usable: ``(h, w)`` bool.

    Returns:
        ``(n, 2)`` u and v.
    """
    height, width = usable.shape
    texture = _with_slopes(image)[3:].square().sum(0).masked_fill(~usable, 0)
    border = torch.zeros_like(texture)
    border[2:-2, 2:-2] = texture[2:-2, 2:-2]
    side = math.ceil((height * width / PIXELS) ** 0.5)
    most, place = F.max_pool2d(border[None, None], side, return_indices=True)
    place = place.flatten()[most.flatten() > 0]
    return torch.stack([place % width, place.div(width, rounding_mode='floor')], 1).to(image.dtype)


def find_turn(
    image: Tensor, intrinsics: Tensor, places: Tensor, shown: Tensor, usable: Tensor, before: Tensor | None = None
) -> Tensor:
    """Turn a camera so that its image has the colors that are shown.

    Args:
        image: ``(3, h, w)`` in [0, 1], as recorded.
        intrinsics: ``(3, 3)``.
        places: ``(n, 2)`` pixels u, v.
        shown: ``(n, 3)`` colors that are expected there, by the pose so far.
        usable: ``(n,)`` bool, which of them count.
        before: ``(3,)`` rotation vector in the frame of the camera, by which the pose so far differs from the recorded
            one; None for nothing.

    Returns:
        ``(3,)`` rotation vector by which the pose is to differ instead: no more than :data:`LARGEST`, and the nearer
        to zero the less the image tells. ``before`` if nothing makes the colors more alike.
    """
    before = image.new_zeros(3) if before is None else before
    if not usable.any():
        return before
    maps, rays, turn = _with_slopes(image), _rays(intrinsics, places), torch.zeros_like(before)
    error, slopes = first, _ = _compare(maps, intrinsics, rays, shown, turn)
    prior = torch.eye(3, dtype=image.dtype, device=image.device) / USUAL**2
    for _ in range(STEPS):
        scale = _scale(error, usable)
        trust = usable / (1 + (_size(error) / scale).square()).square() / (ALIKE * scale.square())
        weighted = trust[:, None, None] * slopes
        moments = torch.einsum('nci,ncj->ij', weighted, slopes) + prior
        turn = turn - torch.linalg.solve(moments, torch.einsum('nci,nc->i', weighted, error) + prior @ (before + turn))
        error, slopes = _compare(maps, intrinsics, rays, shown, turn)
    scale = _scale(error, usable)
    total = torch.where(_cost(error, usable, scale) < _cost(first, usable, scale), before + turn, before)
    return total * (LARGEST / total.norm().clamp_min(LARGEST))


def _compare(maps: Tensor, intrinsics: Tensor, rays: Tensor, shown: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Return how the colors of a turned camera differ ``(n, 3)``, and how that changes with the turn ``(n, 3, 3)``."""
    x, y, z = rotate(-turn, rays).unbind(-1)
    x, y = x / z, y / z
    one = torch.ones_like(x)
    u, v = (intrinsics[:2] @ torch.stack([x, y, one])).unbind(0)
    read = read_maps(maps[None], u[None, None], v[None, None])[0, :, 0].T
    # A turn w moves a direction q in the frame of the camera by q x w.
    x_slope = torch.stack([x * y, -one - x * x, y], 1)
    y_slope = torch.stack([one + y * y, -x * y, -x], 1)
    to_pixels = torch.stack([x_slope, y_slope], 1)
    by_pixel = torch.stack([read[:, 3:6], read[:, 6:]], 2) @ intrinsics[:2, :2]
    return read[:, :3] - shown, by_pixel @ to_pixels


def _size(error: Tensor) -> Tensor:
    return error.square().mean(1).sqrt()


def _scale(error: Tensor, usable: Tensor) -> Tensor:
    """Return how large errors ``(n, 3)`` usually are."""
    return (1.5 * _size(error)[usable].median()).clamp_min(SMALLEST)


def _cost(error: Tensor, usable: Tensor, scale: Tensor) -> Tensor:
    """Sum errors so that large ones count no more than 1 each."""
    square = (_size(error) / scale).square()
    return (square / (1 + square))[usable].sum()


def _rays(intrinsics: Tensor, places: Tensor) -> Tensor:
    """Return the directions ``(n, 3)`` of pixels in the frame of the camera, z = 1."""
    return torch.cat([places, torch.ones_like(places[:, :1])], 1) @ inverse(intrinsics).T


def _with_slopes(image: Tensor) -> Tensor:
    """Return ``(9, h, w)``: an image ``(3, h, w)``, a little blurred, and its slopes to the right and down."""
    for axis in (1, 2):
        padded = F.pad(image, (1, 1, 0, 0) if axis == 2 else (0, 0, 1, 1), mode='replicate')
        before, middle, after = (padded.narrow(axis, k, image.shape[axis]) for k in range(3))
        image = (before + 2 * middle + after) / 4
    padded = F.pad(image, (1, 1, 1, 1), mode='replicate')
    right = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    down = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    return torch.cat([image, right, down])
