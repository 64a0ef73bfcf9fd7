"""Fit the features of a field to maps of a foundation model: least squares, once the field stands.

A feature is a weighted sum of a few values, so no steps of training are needed: squares of differences, and of those of
neighboring values, are least where a system of linear equations holds. It is put together image by image, and solved by
conjugate gradients, on the CPU.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ..semantics.classes import CHANNELS
from .feature_field import SKY_SIZE, FeatureField, Reads
from .feature_maps import FeatureMaps, resize_features
from .field import SceneField
from .field_teacher import march
from .marching import Rays
from .nested_grid import CORNERS

# So many pixels are enough; of more, some are left out, evenly.
MOST_RAYS = 2_000_000
# Weight of the squared difference of neighboring values, against that of a pixel.
SMOOTHNESS = 0.1
# The residual of the equations, as a share of what it is for zeros, below which they are solved; and the most steps.
TOLERANCE, MOST_STEPS = 1e-3, 60
# Pairs of vertices of a cell along its edges.
EDGES = [
    (a, b) for a in range(8) for b in range(a) if sum(x != y for x, y in zip(CORNERS[a], CORNERS[b], strict=True)) == 1
]


@torch.no_grad()
def learn_features(
    field: SceneField, maps: FeatureMaps, image_size: tuple[int, int], cell: float, largest: float
) -> FeatureField:
    """Learn the features of a field that stands.

    Args:
        field: the field, in evaluation mode.
        maps: the feature maps, of images with the poses that fit the field.
        image_size: (height, width) of the rays that are asked.
        cell: edge of the smallest cells of features, meters.
        largest: of the largest that the innermost box can have.
    """
    features = FeatureField.around(field.cells.grid, field.moving.cells.grid, cell, largest, maps.size)
    fit = FeatureFit(features)
    height, width = image_size
    stride = math.ceil(math.sqrt(len(maps.images) * height * width / MOST_RAYS))
    for number, image in enumerate(maps.images):
        seen = torch.from_numpy(~image.own_car_mask(height, width))
        used = torch.zeros_like(seen)
        # Another image has other pixels, as far as there are some.
        used[number % stride % height :: stride, number // stride % stride % width :: stride] = True
        origin, directions = image.camera_at(height, width).rays(height, width)
        directions = directions[0, used & seen].to(field.exposure)
        rays = Rays.centered(origin.to(field.exposure).expand_as(directions).contiguous(), directions)
        times = torch.full((len(rays),), image.timestamp, dtype=torch.float64, device=directions.device)
        reads = features.reads(field.ends(rays, times, march(field, rays, times)))
        map_ = resize_features(torch.from_numpy(maps.read(image)).permute(2, 0, 1), (height, width))
        fit.add(reads, map_[:, used & seen].T)
    features.keep(*(part.to(features.values.device) for part in fit.solve()))
    return features


class FeatureFit:
    """The equations of the values of features.

    Args:
        features: whose values are asked for.

    Attributes:
        normal: ``(V, V)`` sparse, and
        right: ``(V, CHANNELS)``: the equations of the pixels alone.
    """

    def __init__(self, features: FeatureField) -> None:
        self.features = features
        count = len(features.values)
        self.normal = csr_array((count, count), dtype=np.float32)
        self.right = np.zeros((count, CHANNELS), np.float32)

    def add(self, reads: Reads, targets: Tensor) -> None:
        """Count the squared differences between what rays ``(n,)`` read and targets ``(n, CHANNELS)``."""
        reads = reads.map(Tensor.cpu)
        numbers, weights = reads.numbers[reads.known].numpy(), reads.weights[reads.known].float().numpy()
        rows = np.arange(0, numbers.size + 1, numbers.shape[1])
        matrix = csr_array((weights.ravel(), numbers.ravel(), rows), shape=(len(numbers), len(self.right)))
        matrix.eliminate_zeros()
        self.normal = self.normal + matrix.T @ matrix
        self.right += matrix.T @ targets[reads.known].float().numpy()

    def solve(self) -> tuple[Tensor, Tensor]:
        """Return which values are known ``(V,)``, and the values ``(V, CHANNELS)``.

        Known is what is connected, over the edges of cells, with something that a pixel shows.
        """
        neighbors = _neighbors(self.features)
        _, part = connected_components(neighbors, directed=False)
        shown = self.normal.diagonal() > 0
        known = np.isin(part, np.unique(part[shown]))
        degrees = diags_array(neighbors.sum(1), dtype=np.float32)
        matrix = csr_array(self.normal + SMOOTHNESS * (degrees - neighbors))
        # What is not known has no equation.
        matrix = csr_array(matrix + diags_array((~known).astype(np.float32)))
        return torch.from_numpy(known), torch.from_numpy(conjugate_gradients(matrix, self.right))


def _neighbors(features: FeatureField) -> csr_array:
    """Return how many cells each two values that lie along an edge share, ``(V, V)``; pixels of the sky share one."""
    pairs, first = [], 0
    for grid in (features.still, features.moving):
        vertices = grid.vertices.cpu().numpy().astype(np.int64)
        pairs += [vertices[:, edge] + first for edge in EDGES]
        first += grid.num_vertices
    sky = first + np.arange(SKY_SIZE[0] * SKY_SIZE[1]).reshape(SKY_SIZE)
    pairs += [np.stack([a.ravel(), b.ravel()], 1) for a, b in ((sky, np.roll(sky, 1, 1)), (sky[1:], sky[:-1]))]
    one, other = np.concatenate(pairs).T
    count = len(features.values)
    matrix = csr_array((np.ones(len(one), np.float32), (one, other)), shape=(count, count))
    return csr_array(matrix + matrix.T)


def conjugate_gradients(matrix: csr_array, right: np.ndarray) -> np.ndarray:
    """Solve ``matrix @ x = right`` ``(V, k)`` for a symmetric positive matrix; each column for itself.

    Steps are taken along the residual divided by the diagonal.
    """
    inverse = 1 / matrix.diagonal()[:, None]
    x, residual = np.zeros_like(right), right.copy()
    way = inverse * residual
    energy = first = (residual * way).sum(0)
    for _ in range(MOST_STEPS):
        if (energy <= TOLERANCE**2 * first).all():
            break
        ahead = matrix @ way
        step = energy / np.maximum((way * ahead).sum(0), np.finfo(np.float32).tiny)
        x += step * way
        residual -= step * ahead
        scaled = inverse * residual
        before, energy = energy, (residual * scaled).sum(0)
        way = scaled + energy / np.maximum(before, np.finfo(np.float32).tiny) * way
    return x
