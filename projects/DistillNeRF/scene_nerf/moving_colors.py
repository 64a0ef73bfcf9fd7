"""Colors of moving things, warped from images of other times: each is looked up where it was then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..geometry.cameras import Cameras
from ..geometry.poses import inverse_pose
from .teacher import TeacherRendering
from .tracks import Thing
from .warping import Sources, depth_with_sky, warp_colors

# Pixels around those of a thing that are warped with it: colors are read between pixels.
BORDER = 2


def warp_things(
    camera: Cameras, rendering: TeacherRendering, sources: Sources, things: Sequence[Thing], time: float
) -> Tensor:
    """Look up the colors of things in recorded images.

    For a thing, a camera that looked at it earlier is as one that stands elsewhere now: it moves with the thing.

    Args:
        camera: of the view, ``(1,)``, in the scene.
        rendering: depth, image and what moves of the view.
        sources: recorded images, with their ``seconds`` after ``time``.
        things: where they are at which time.
        time: of the view, seconds.

    Returns:
        the image ``(3, h, w)`` of the rendering with these colors in the pixels of things.
    """
    assert rendering.image is not None and rendering.moving is not None
    image = rendering.image[0].clone()
    moves = (rendering.moving[0] > 0.5) & rendering.depth[0].isfinite()
    rows, columns = (places.cpu() for places in moves.nonzero(as_tuple=True))
    points = _points(camera, rendering.depth[0])[rows.numpy(), columns.numpy()]
    for thing in things:
        pose = thing.pose_at(time)
        if pose is None or not len(rows):
            continue
        inner = points @ pose[:3, :3] + inverse_pose(pose)[:3, 3]
        own = np.flatnonzero(((inner >= thing.lower) & (inner <= thing.upper)).all(1))
        there = _moved(sources, thing, pose, time)
        if not len(own) or not len(there):
            continue
        window = tuple(
            slice(max(int(x.min()) - BORDER, 0), int(x.max()) + BORDER + 1) for x in (rows[own], columns[own])
        )
        part = rendering.map(lambda x, window=window: x[..., window[0], window[1]])
        colors = warp_colors(_cropped(camera, part, window), depth_with_sky(part), there, part.image).image[0]
        row, column = rows[own], columns[own]
        image[:, row, column] = colors[:, row - window[0].start, column - window[1].start]
    return image


def _points(camera: Cameras, depth: Tensor) -> np.ndarray:
    """Return the points ``(h, w, 3)`` that pixels show, in the scene."""
    origin, directions = camera.rays(*depth.shape)
    distance = depth * camera.ray_lengths(*depth.shape)[0].to(depth)
    return (origin[0] + distance.to(directions)[..., None] * directions[0]).double().cpu().numpy()


def _moved(sources: Sources, thing: Thing, pose: np.ndarray, time: float) -> Sources:
    """Return the sources of times at which the thing was there, moved with it to where it is now."""
    poses = [thing.pose_at(time + float(seconds)) for seconds in sources.seconds]
    there = [index for index, other in enumerate(poses) if other is not None]
    chosen = sources[there]
    moves = [pose @ inverse_pose(poses[index]) for index in there]
    cam2world = chosen.cameras.cam2world
    moved = torch.from_numpy(np.array(moves).reshape(-1, 4, 4)).to(cam2world.device) @ cam2world.double()
    return replace(chosen, cameras=replace(chosen.cameras, cam2world=moved.to(cam2world)), moving=None)


def _cropped(camera: Cameras, part: TeacherRendering, window: tuple[slice, ...]) -> Cameras:
    """Return the camera of a window of its image."""
    intrinsics = camera.intrinsics.clone()
    intrinsics[:, 0, 2] -= window[1].start
    intrinsics[:, 1, 2] -= window[0].start
    height, width = part.depth.shape[1:]
    return Cameras(intrinsics, camera.cam2world, height, width)
