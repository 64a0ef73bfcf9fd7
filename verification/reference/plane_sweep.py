"""Plane sweep, slow and obvious: one pixel, bin and other view after the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.modules.plane_sweep import PlaneSweep

from .kernels import bilinear


def project(camera: Cameras, point: Tensor) -> tuple[Tensor, bool]:
    """Return the pixel ``(2,)`` of a point ``(3,)`` in the world, and whether it is in the image of a camera."""
    matrix = camera.cam2world
    local = matrix[:3, :3].T @ (point - matrix[:3, 3])
    pixel = camera.intrinsics @ local
    pixel = pixel[:2] / pixel[2].clamp_min(1e-6)
    edges = pixel.new_tensor([camera.width - 0.5, camera.height - 0.5])
    return pixel, bool(local[2] > 0.1 and (pixel > -0.5).all() and (pixel < edges).all())


def chosen(cameras: Cameras, others: Cameras, centers: Tensor, count: int) -> list[list[int]]:
    """Return the numbers of the other views that are compared with each, those that have most of it first."""
    result = []
    for view in range(len(cameras)):
        origins, directions = cameras[view].rays(cameras.height, cameras.width)
        shares = []
        for other in range(len(others)):
            points = [
                origins + center * directions[row, column]
                for center in centers[view]
                for row in range(0, cameras.height, 8)
                for column in range(0, cameras.width, 8)
            ]
            share = sum(project(others[other], point)[1] for point in points) / len(points)
            apart = (origins - others[other].cam2world[:3, 3]).norm() >= 0.1
            shares.append(share if apart else 0.0)
        order = sorted(range(len(others)), key=lambda number: -shares[number])
        result.append([number for number in order[:count] if shares[number] > 0])
    return result


def added_logits(
    sweep: PlaneSweep,
    described: Tensor,
    cameras: Cameras,
    edges: Tensor,
    others: Tensor,
    their_cameras: Cameras,
    context: Tensor,
) -> Tensor:
    """Compute what :meth:`PlaneSweep.forward` returns."""
    centers = (edges[:, 1:] * edges[:, :-1]).sqrt()
    numbers = chosen(cameras, their_cameras, centers, sweep.count)
    result = []
    for view, compared in enumerate(numbers):
        origin, directions = cameras[view].rays(cameras.height, cameras.width)
        rows, columns = described.shape[2:]
        planes, known = [], torch.zeros(len(centers[view]), rows, columns, dtype=torch.bool)
        for number, center in enumerate(centers[view]):
            plane = []
            for row in range(rows):
                for column in range(columns):
                    point = origin + center * directions[2 * row, 2 * column]
                    cosines = []
                    for other in compared:
                        pixel, inside = project(their_cameras[other], point)
                        if inside:
                            found = bilinear(others[other], *(pixel / 2).tolist()) * described[view, :, row, column]
                            cosines.append(found.view(sweep.groups, -1).sum(1))
                    known[number, row, column] = bool(cosines)
                    mean = torch.stack(cosines).mean(0) if cosines else described.new_zeros(sweep.groups)
                    plane.append(torch.cat([mean, mean.new_tensor([float(bool(cosines))])]))
            planes.append(torch.stack(plane, 1).view(-1, rows, columns))
        scores = sweep.score(F.leaky_relu(sweep.mix(torch.stack(planes)), 0.2))[:, 0]
        gate = sweep.gate(context[view][None])[0, 0]
        added = torch.zeros(len(scores), cameras.height, cameras.width, dtype=scores.dtype)
        for row in range(cameras.height):
            for column in range(cameras.width):
                place = (column / 2, row / 2)
                near = bilinear(known.any(0).to(scores)[None], *place)
                if near[0] > 0:
                    added[:, row, column] = bilinear(scores, *place) * gate[row, column]
        result.append(added)
    return torch.stack(result)
