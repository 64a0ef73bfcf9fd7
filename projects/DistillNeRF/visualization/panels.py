"""One panel per sample: input images, predictions, known values and errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ..geometry.cameras import Cameras
from ..geometry.views import Views
from ..losses.depth import resize_depth, resize_mask
from .colors import SKY_COLOR, color_shares, depth_to_colors
from .feature_rows import feature_rows
from .panel_layout import (
    DIMMED,
    ERROR_COLORMAP,
    LARGEST_DEPTH_ERROR,
    LARGEST_ERROR,
    PanelRow,
    compose,
    enlarge,
    tiles_by_camera,
    to_uint8,
)

TILE_WIDTH = 240
# Points of sparse depth are drawn at least this large, in pixels of the tile.
POINT_SIZE = 4
# Rays of less opacity than this are drawn as sky.
MIN_OPACITY = 0.5
# Columns begin here, degrees clockwise from the front: behind the left side, in no camera of the usual rigs.
RING_START = -100.0


def ring_order(cameras: Cameras) -> list[int]:
    """Sort ``(V,)`` cameras clockwise around the car, from the left side over the front to the back."""
    forward = cameras.cam2world[:, :3, 2].double().cpu()
    degrees = torch.rad2deg(torch.atan2(forward[:, 0], forward[:, 1]))
    return ((degrees - RING_START) % 360).argsort(stable=True).tolist()


def panel(input_views: Views, target_views: Views, prediction: Mapping[str, Any], title: str = '') -> np.ndarray:
    """Draw :func:`panel_rows` as one labeled panel, ``(H, W, 3)`` uint8 RGB, with ``title`` printed below."""
    return assemble(panel_rows(input_views, target_views, prediction), input_views, target_views, title)


def assemble(rows: list[PanelRow], input_views: Views, target_views: Views, title: str = '') -> np.ndarray:
    """Compose rows to one picture ``(H, W, 3)`` uint8 RGB, with a column per camera in ring order."""
    return compose(rows, _columns(input_views, target_views), *_tile_size(input_views), title)


def panel_rows(
    input_views: Views,
    target_views: Views,
    prediction: Mapping[str, Any],
    images: bool = True,
    features: bool = True,
) -> list[PanelRow]:
    """Draw rows of images, depths, errors and features, with a tile per camera.

    All depths are drawn as the distance along the ray on one fixed scale; z of LiDAR, teacher and truth is converted.
    Target views of other instants follow below: true image, rendered image and depth, error of color; features in the
    colors of the current instant.

    Args:
        input_views: N views.
        target_views: T views; their LiDAR, teacher and true depth is drawn for the current instant.
        prediction: ``depth`` ``(T, h, w)``, and where known ``rgb`` ``(T, 3, H, W)``, ``opacity`` ``(T, h, w)``,
            ``features`` ``(T, C, h, w)``, ``coarse_depth`` and ``fine_depth`` ``(N, H, W)``; depths are distances
            along the ray, meters; ``beside`` ``(N, 3, H, W)``, colors from 1 m to the right of the input views;
            ``scene_field``, the scene, which tells whether input images are withheld from ``rgb``.
        images, features: which rows to draw; the input images are always drawn.
    """
    rows = [PanelRow('input', _images(input_views))]
    frames = sorted(set(target_views.frames), key=lambda frame: (abs(frame), -frame))
    like: tuple[Views, Tensor] | None = None
    for frame in frames:
        chosen = [i for i, other in enumerate(target_views.frames) if other == frame]
        part = {key: prediction[key][chosen] for key in ('rgb', 'depth', 'opacity') if prediction.get(key) is not None}
        if images:
            encoded = prediction if frame == 0 else {}
            rows += _target_rows(input_views, target_views[chosen], part, encoded, _tile_size(input_views))
        if features and prediction.get('features') is not None:
            own = target_views[chosen], prediction['features'][chosen]
            like = like or own
            rows += feature_rows(*own, _prefix(frame), like)
    return rows


def _tile_size(input_views: Views) -> tuple[int, int]:
    height, width = input_views.cameras.height, input_views.cameras.width
    scale = max(1, round(TILE_WIDTH / width))
    return height * scale, width * scale


def _columns(input_views: Views, target_views: Views) -> list[str]:
    """Return the names of all cameras in ring order; a camera of several instants has its first position."""
    names = list(dict.fromkeys(input_views.names + target_views.names))
    every = torch.cat([input_views.cameras.cam2world, target_views.cameras.cam2world.to(input_views.cameras.cam2world)])
    first = [(input_views.names + target_views.names).index(name) for name in names]
    cameras = Cameras(input_views.cameras.intrinsics[:1].expand(len(names), 3, 3), every[first], 1, 1)
    return [names[i] for i in ring_order(cameras)]


def _target_rows(
    inputs: Views, views: Views, rendered: Mapping[str, Tensor], encoded: Mapping[str, Any], size: tuple[int, int]
) -> list[PanelRow]:
    """Draw the target views of one instant; ``encoded`` has the depths of the input views, if they belong here."""
    frame = views.frames[0]
    prefix, rows = _prefix(frame), []
    if frame != 0 or not set(views.names) <= set(inputs.names):
        rows.append(PanelRow(f'{prefix}true image', _images(views)))
    rgb = rendered.get('rgb')
    if rgb is not None:
        rows.append(PanelRow(f'{prefix}rendered{_withheld(encoded)}', tiles_by_camera(views, to_uint8(rgb))))
    if encoded.get('beside') is not None:
        rows.append(PanelRow('rendered 1 m\nto the right', tiles_by_camera(inputs, to_uint8(encoded['beside']))))
    for key in ('coarse', 'fine'):
        if encoded.get(f'{key}_depth') is not None:
            rows.append(PanelRow(f'{key} depth', _depths(inputs, encoded[f'{key}_depth'])))
    opacity = rendered.get('opacity')
    transparent = None if opacity is None else opacity < MIN_OPACITY
    rows.append(PanelRow(f'{prefix}rendered\ndepth', _depths(views, rendered['depth'], transparent)))
    if frame == 0:
        rows += _known_depths(views, rendered['depth'], size)
    if rgb is not None:
        rows.append(PanelRow(f'{prefix}color\nerror', _errors(views, rgb)))
    return rows


def _withheld(prediction: Mapping[str, Any]) -> str:
    """Say, of the current instant, that a network which looks colors up was not given the image that is rendered."""
    scene = prediction.get('scene_field')
    return '' if scene is None or scene.blend is None or scene.blend.features else ' from\nother images'


def _prefix(frame: int) -> str:
    """Return how the labels of the rows of an instant begin."""
    return {0: '', 1: 'next\n', -1: 'previous\n'}.get(frame, f'frame {frame:+d}\n')


def _known_depths(views: Views, rendered: Tensor, size: tuple[int, int]) -> list[PanelRow]:
    """Draw the depth maps of the views, z converted to distance, each with the error of ``rendered``."""
    rows = []
    if views.lidar_depth is not None:
        points, images = _numpy(_distance(views.lidar_depth, views.cameras)), to_uint8(views.images)
        backgrounds = [_lidar_background(*pair, *size) for pair in zip(images, _skies(views), strict=True)]
        errors = np.abs(points - _at_size(rendered, points))
        for label, values, colors in (
            ('LiDAR', points, depth_to_colors),
            ('LiDAR\ndepth error', errors, _depth_error_colors),
        ):
            tiles = [_draw_points(*pair, colors) for pair in zip(values, backgrounds, strict=True)]
            rows.append(PanelRow(label, tiles_by_camera(views, tiles)))
    for name, z, sky in (
        ('teacher', views.teacher_depth, None if views.sky_mask is None else views.sky_mask > 0),
        ('true', views.true_depth, None if views.true_depth is None else views.true_depth.isnan()),
    ):
        if z is not None:
            z, sky = _at_one_size(z, sky)
            distance = _distance(z, views.cameras)
            rows.append(PanelRow(f'{name}\ndepth', _depths(views, distance, sky)))
            errors = np.abs(_numpy(distance) - _at_size(rendered, _numpy(distance)))
            skies = [None] * len(views) if sky is None else _numpy(sky)
            tiles = [_depth_error_colors(*pair) for pair in zip(errors, skies, strict=True)]
            rows.append(PanelRow(f'{name}\ndepth error', tiles_by_camera(views, tiles)))
    return rows


def _at_one_size(z: Tensor, sky: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Resize a map ``(V, h, w)`` or its mask, whichever is smaller, to the size of the other, without new values.

    Masks alone come with a depth of one unknown pixel, and masks of another network may have another size.
    """
    if sky is None:
        return z, None
    size = max(z.shape[-2:], sky.shape[-2:], key=math.prod)
    return resize_depth(z, size, nearest=True), resize_mask(sky, *size)


def _at_size(rendered: Tensor, like: np.ndarray) -> np.ndarray:
    """Resize rendered depth ``(V, h, w)`` to the size of another depth, without new values."""
    return np.stack([enlarge(depth, *like.shape[1:]) for depth in _numpy(rendered)])


def _depth_error_colors(error: np.ndarray, sky: np.ndarray | None = None) -> np.ndarray:
    """Color ``(h, w)`` differences in meters, NaN where unknown; ``sky`` as in :func:`depth_to_colors`."""
    colors = color_shares(error / LARGEST_DEPTH_ERROR, ERROR_COLORMAP)
    if sky is not None:
        colors[sky] = SKY_COLOR
    return colors


def _distance(z: Tensor, cameras: Cameras) -> Tensor:
    """Convert z maps ``(V, h, w)`` to distance along the ray."""
    return z * cameras.ray_lengths(*z.shape[-2:]).to(z)


def _skies(views: Views) -> list[np.ndarray | None]:
    """Return the sky mask of each view, ``(h, w)`` bool."""
    return [None] * len(views) if views.sky_mask is None else list(_numpy(views.sky_mask > 0))


def _lidar_background(image: np.ndarray, sky: np.ndarray | None, height: int, width: int) -> np.ndarray:
    """Darken the image, and color its sky: the LiDAR loss puts the sky far away."""
    background = (enlarge(image, height, width) * DIMMED).astype(np.uint8)
    if sky is not None:
        background[enlarge(sky.astype(np.uint8), height, width) > 0] = SKY_COLOR
    return background


def _draw_points(values: np.ndarray, background: np.ndarray, colors: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Draw sparse values ``(h, w)`` as squares over an image; where squares overlap, the smallest value wins."""
    height, width = background.shape[:2]
    points = enlarge(np.where(np.isnan(values), math.inf, values), height, width)
    missing = POINT_SIZE - width // values.shape[1]
    if missing > 0:
        # The usual border is the largest float, which is no infinity: it would frame the tile as far points.
        square = np.ones((missing + 1, missing + 1), np.uint8)
        points = cv2.erode(points, square, borderType=cv2.BORDER_REPLICATE)
    known = np.isfinite(points)
    return np.where(known[..., None], colors(np.where(known, points, math.nan)), background)


def _images(views: Views) -> dict[str, np.ndarray]:
    """Make tiles of the images."""
    return tiles_by_camera(views, to_uint8(views.images))


def _depths(views: Views, distance: Tensor, sky: Tensor | None = None) -> dict[str, np.ndarray]:
    """Make tiles of ``(V, h, w)`` distances."""
    skies = [None] * len(views) if sky is None else _numpy(sky)
    return tiles_by_camera(views, [depth_to_colors(*pair) for pair in zip(_numpy(distance), skies, strict=True)])


def _errors(views: Views, rgb: Tensor) -> dict[str, np.ndarray]:
    """Make tiles of the absolute difference of color, averaged over the channels."""
    difference = (rgb.float().clamp(0, 1) - views.images.to(rgb.device).float()).abs().mean(dim=1)
    return tiles_by_camera(views, color_shares(_numpy(difference) / LARGEST_ERROR, ERROR_COLORMAP))


def _numpy(tensor: Tensor) -> np.ndarray:
    """Convert a tensor to an array; half precision to float32, which OpenCV and numpy can work with."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
