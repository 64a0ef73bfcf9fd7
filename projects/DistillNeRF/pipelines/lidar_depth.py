"""LiDAR points to the sparse depth image of a camera (docs/NETWORK.md#lidar-depth-image), and the sky above them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from scipy.ndimage import maximum_filter1d

from ..utils.errors import InputError

# LiDAR points nearer than this, meters, are left out, as published.
MIN_LIDAR_DEPTH = 1.0
_EMPTY = 1000.0
# Rows of one matrix product; OpenBLAS computes 16,384 rows of 4 x 4 on one thread.
ROWS = 8192


@dataclass(frozen=True)
class LidarProjection:
    """All points of one sweep in one camera.

    Attributes:
        depth: ``(n,)`` z in the camera frame in meters, clipped to [1e-5, 99999].
        pixels: ``(n, 2)`` position (u, v) in the image; means nothing for points behind the camera.
        visible: ``(n,)`` True where the point lies in the image and in the range of depths.
    """

    depth: np.ndarray
    pixels: np.ndarray
    visible: np.ndarray


def project_lidar(
    points: np.ndarray, lidar2img: np.ndarray, height: int, width: int, max_depth: float, flip: bool = False
) -> LidarProjection:
    """Project LiDAR points into an image of ``height`` x ``width``.

    Args:
        points: ``(n, 3+)`` in the LiDAR frame, meters; columns after the third are ignored.
        lidar2img: ``(4, 4)`` LiDAR frame to pixels times z.
        height, width: size of the image in pixels.
        max_depth: points at this z or beyond are not visible, meters.
        flip: the horizontal flip of the published code.
    """
    transform = lidar2img.astype(np.float32).T
    if flip:
        transform = np.diag(np.float32([1, -1, 1, 1])) @ transform
    projected = homogeneous(points) @ transform
    depth = _clipped(projected)
    u, v = projected[:, 0] / depth, projected[:, 1] / depth
    if flip:
        u = np.float32(width) - u
    visible = _in_range(depth, max_depth) & _in_image(u, v, height, width)
    return LidarProjection(depth, np.stack([u, v], axis=1), visible)


def project_visible(
    points: np.ndarray, lidar2img: np.ndarray, height: int, width: int, max_depth: float
) -> tuple[LidarProjection, np.ndarray]:
    """Project as :func:`project_lidar` does, but keep the visible points alone: the same numbers in half the time.

    Points behind the camera or out of range are left out before anything is divided. They are part of the matrix
    product, a tenth of the work: BLAS rounds a single row otherwise than many.

    Args:
        points: ``(n, 4)`` :func:`homogeneous` points in the LiDAR frame, meters.
        lidar2img: ``(4, 4)`` LiDAR frame to pixels times z.
        height, width: size of the image in pixels.
        max_depth: points at this z or beyond are not visible, meters.

    Returns:
        the visible points, and their positions among all ``(m,)``, which increase.
    """
    projected = _transformed(points, lidar2img.astype(np.float32).T)
    depth = _clipped(projected)
    kept = np.flatnonzero(_in_range(depth, max_depth))
    depth = depth[kept]
    u, v = projected[kept, 0] / depth, projected[kept, 1] / depth
    inside = np.flatnonzero(_in_image(u, v, height, width))
    pixels = np.stack([u[inside], v[inside]], axis=1)
    return LidarProjection(depth[inside], pixels, np.ones(len(inside), bool)), kept[inside]


def homogeneous(points: np.ndarray) -> np.ndarray:
    """Return float32 ``(n, 4)`` x, y, z, 1 of points ``(n, 3+)``."""
    return np.concatenate([points[:, :3], np.ones_like(points[:, :1])], axis=1).astype(np.float32)


def _transformed(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Return ``points @ transform``, in pieces that are too small for BLAS to wake its threads, which cost far more."""
    projected = np.empty_like(points)
    starts = range(0, max(len(points) - 1, 1), ROWS)  # the last piece is no single row
    for start in starts:
        rows = slice(start, None if start == starts[-1] else start + ROWS)
        np.matmul(points[rows], transform, out=projected[rows])
    return projected


def _clipped(projected: np.ndarray) -> np.ndarray:
    return np.clip(projected[:, 2], np.float32(1e-5), np.float32(99999))


def _in_range(depth: np.ndarray, max_depth: float) -> np.ndarray:
    return (depth >= MIN_LIDAR_DEPTH) & (depth < max_depth)


def _in_image(u: np.ndarray, v: np.ndarray, height: int, width: int) -> np.ndarray:
    return (u >= 0) & (u < width - 0.5) & (v >= 0) & (v < height - 0.5)


def lidar_depth_image(projection: LidarProjection, height: int, width: int, rows: int, columns: int) -> np.ndarray:
    """Make the depth image ``(rows, columns)``: the nearest z of the visible points, NaN where no point falls.

    The nearest point wins in blocks of ``height // rows`` x ``width // columns`` whole pixels; the map of blocks is
    then resized to rows x columns by nearest neighbor.

    Raises:
        InputError: the depth image is larger than the image.
    """
    shape, indices, used = _blocks(projection, height, width, rows, columns)
    blocks = np.full(shape, _EMPTY, dtype=np.float32)
    # numpy is fast where there is one index.
    np.minimum.at(blocks.reshape(-1), np.ravel_multi_index(indices, shape), projection.depth[used])
    blocks[blocks == _EMPTY] = np.nan
    return _resized(blocks, rows, columns)


def lidar_class_image(
    projection: LidarProjection, classes: np.ndarray, height: int, width: int, rows: int, columns: int, unknown: int
) -> np.ndarray:
    """Make the image ``(rows, columns)`` uint8 of the classes of the points that :func:`lidar_depth_image` shows.

    Args:
        projection: the points in the camera.
        classes: ``(n,)`` class of each point.
        height, width: size of the image.
        rows, columns: size of the result.
        unknown: class where there is no point.
    """
    shape, indices, used = _blocks(projection, height, width, rows, columns)
    blocks = np.full(shape, unknown, dtype=np.uint8)
    # Of several values for one cell the last stays: the nearest.
    far_to_near = np.argsort(-projection.depth[used], kind='stable')
    blocks[tuple(index[far_to_near] for index in indices)] = classes[used][far_to_near]
    return _resized(blocks, rows, columns)


def _blocks(
    projection: LidarProjection, height: int, width: int, rows: int, columns: int
) -> tuple[tuple[int, int], tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Return the shape of the map of whole blocks, the (row, column) of the points in it, and the indices of these."""
    block_rows, block_columns = height // rows, width // columns
    if block_rows < 1 or block_columns < 1:
        raise InputError(
            f'a depth image of {rows} x {columns} is larger than its image of {height} x {width}; '
            'choose a smaller render_size'
        )
    shape = (height // block_rows, width // block_columns)
    used = np.flatnonzero(projection.visible)
    column, row = (
        np.rint(side[used]).astype(np.int32) // block
        for side, block in zip(projection.pixels.T, (block_columns, block_rows), strict=True)
    )
    whole = np.flatnonzero((row < shape[0]) & (column < shape[1]))
    return shape, (row[whole], column[whole]), used[whole]


def _resized(blocks: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Resize a map of blocks by nearest neighbor."""
    pick_rows = np.arange(rows) * blocks.shape[0] // rows
    pick_columns = np.arange(columns) * blocks.shape[1] // columns
    return blocks[pick_rows[:, None], pick_columns]


# Columns to each side whose returns count for a column, and rows above the highest return that stay unknown.
SIDE, GAP = 3, 2
# The highest beams return too little to rely on: degrees below the ceiling.
MARGIN = 3.0


def sky_above_returns(known: np.ndarray, elevation: np.ndarray, ceiling: float) -> np.ndarray:
    """Return ``(h, w)`` uint8, 1 where a pixel must be sky.

    A column of the image is open if its highest return lies well below the ceiling: the beams above it came back from
    nothing. What is above the highest return of an open column is sky, as nothing floats there. Columns with returns
    up to the ceiling (a house that goes on above it) and columns without any return stay unknown.

    Args:
        known: ``(h, w)`` True where LiDAR returned; the camera is upright.
        elevation: ``(h, w)`` angle of each pixel's ray above the horizon, degrees.
        ceiling: elevation of the highest beams, degrees.
    """
    known = maximum_filter1d(known.astype(np.uint8), 2 * SIDE + 1, axis=1, mode='constant')
    top = known.argmax(axis=0)
    highest = elevation[top, np.arange(known.shape[1])]
    is_open = known.any(axis=0) & (highest < ceiling - MARGIN)
    rows = np.arange(known.shape[0])[:, None]
    return (is_open & (rows < top - GAP) & (elevation > 0)).astype(np.uint8)


@TRANSFORMS.register_module()
class SkyFromLidar(BaseTransform):
    """Fill ``sky_mask`` ``(h, w)`` of every view that has LiDAR, from its ``lidar_depth``; after ``LoadLidarDepth``.

    0 means "not known to be sky". Without LiDAR it is 0 everywhere.

    Args:
        ceiling: elevation of the highest beams, degrees: 15 for PandaSet, 10 for nuScenes.

    Raises:
        InputError: the teacher's sky masks are loaded, too.
    """

    def __init__(self, ceiling: float) -> None:
        self.ceiling = ceiling

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``sky_mask``."""
        for view in results['views'].values():
            if 'sky_mask' in view or 'sky_mask' in view.get('paths', {}):
                raise InputError('SkyFromLidar and load_teacher=True both give sky masks; leave out one of them')
            if 'lidar_depth' in view:
                known = np.isfinite(view['lidar_depth'])
                view['sky_mask'] = sky_above_returns(known, _elevation(view, known.shape), self.ceiling)
        return results


def _elevation(view: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """Return the degrees ``(h, w)`` above the horizon of the LiDAR frame, at the middle of every pixel of ``size``."""
    sides = (view['height'], view['width'])
    rows, columns = ((np.arange(n) + 0.5) * side / n - 0.5 for n, side in zip(size, sides, strict=True))
    u, v = np.meshgrid(columns, rows)
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(view['intrinsics']).T
    rays = rays @ view['cam2world'][:3, :3].T
    return np.degrees(np.arcsin(rays[..., 2] / np.linalg.norm(rays, axis=-1)))
