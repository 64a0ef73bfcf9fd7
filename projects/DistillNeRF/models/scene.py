"""The sparse voxel scene: what one glance becomes, and all that is needed to render it."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from ..geometry.cameras import Cameras
from ..geometry.contraction import ParameterizedSpace
from ..geometry.tensors import TensorFields
from ..modules.heads import ColorHead, FeatureHead
from ..modules.renderer import RayRendering, RaySampling, VoxelTables, gather_rows, render_rays
from ..modules.volume_rendering import activate_density
from ..modules.voxels import VoxelGrid
from ..semantics.text_encoders import similarities
from .occupancy import occupancy

# Samples held at a time when no gradient is kept: about 64 bytes each, so a chunk of rays takes some 250 MB.
SAMPLES_PER_CHUNK = 4_000_000
# What can be asked of a rendering.
WHAT = ('rgb', 'depth', 'features', 'opacity')
# Cells of less density, per meter, count as empty space.
MIN_DENSITY = 0.5


@dataclass(frozen=True)
class Rendering(TensorFields):
    """What V cameras of H x W see; maps are h x w, the render size.

    Attributes:
        image: what the head makes: ``(V, 3, H, W)`` RGB (not clamped), or ``(V, C, h, w)`` features; ``None`` if it
            was not asked for.
        depth: ``(V, h, w)`` expected distance along the ray, meters.
        opacity: ``(V, h, w)`` sum of the weights.
        weights: ``(V, h, w, n)`` weights of the intervals along each ray.
        depths: ``(V, h, w, n + 1)`` ends of these intervals, meters.
        features: ``(V, C, h, w)``; with a color head those of the voxels (fine, then coarse), composited; else the
            image itself. ``None`` if they were not asked for.
    """

    image: Tensor | None
    depth: Tensor
    opacity: Tensor
    weights: Tensor
    depths: Tensor
    features: Tensor | None = None


@dataclass(frozen=True)
class Scene(TensorFields):
    """A two-level voxel field in the LiDAR frame of its keyframe; it renders without the encoder.

    Attributes:
        grid: which cells are occupied.
        coarse: ``(C, channels + 1)`` features and density logit of the coarse cells.
        fine: ``(F, channels + 1)`` the same for the fine cells.
        space: how the world maps into the grid.
        sampling: where samples are put on a ray.
        head: what turns samples into pixels.
        downscale: image size over render size.
    """

    grid: VoxelGrid
    coarse: Tensor
    fine: Tensor
    space: ParameterizedSpace
    sampling: RaySampling
    head: ColorHead | FeatureHead
    downscale: int

    def to(self, *args, **kwargs) -> Self:
        """``torch.Tensor.to`` on all tensors (indices follow the device only); the head is copied."""
        return dataclasses.replace(super().to(*args, **kwargs), head=copy.deepcopy(self.head).to(*args, **kwargs))

    def tables(self) -> VoxelTables:
        """The look-up tables of the renderer."""
        sampling = self.sampling
        return VoxelTables.build(self.grid, self.coarse, self.fine, sampling.logit_bound, sampling.published_quirks)

    def render(
        self, cameras: Cameras, what: Collection[str] | None = None, *, camera_class: int = 1, jitter: bool = False
    ) -> Rendering:
        """What ``cameras`` ``(V,)`` see.

        Args:
            what: some of :data:`WHAT`; ``None`` for what the head makes, with depth and opacity. These two cost
                nothing and always come. Without ``rgb`` no image is decoded, without ``features`` as well no colors
                are composited.
            camera_class: row of the decoder's camera embedding; the published training always used 1.
            jitter: random sample positions, as in training.

        Raises:
            ValueError: the image size is not a multiple of the downscale factor, something unknown is asked for, or
                RGB of a scene that renders features.
        """
        what = self._checked(what)
        rays = self.render_composite(cameras, jitter, colors=bool({'rgb', 'features'} & what))
        image = features = None
        if self.head.renders in what:
            classes = torch.full((len(cameras),), camera_class, dtype=torch.int64, device=rays.composite.device)
            image = self.head(rays.composite, classes)
        if 'features' in what:
            features = image if self.head.renders == 'features' else self.head.features(rays.composite)
        return Rendering(image, rays.depth, rays.opacity, rays.weights, rays.depths, features)

    def _checked(self, what: Collection[str] | None) -> set[str]:
        """What shall be rendered, if it is known and can be had."""
        if what is None:
            return {self.head.renders}
        chosen = {what} if isinstance(what, str) else set(what)
        if unknown := sorted(chosen - set(WHAT)):
            raise ValueError(f'{", ".join(map(str, unknown))} cannot be rendered: ask for some of {", ".join(WHAT)}')
        if 'rgb' in chosen and self.head.renders != 'rgb':
            raise ValueError('this scene renders features, not rgb: ask for features, or use a model with a color head')
        return chosen

    def render_composite(self, cameras: Cameras, jitter: bool = False, colors: bool = True) -> RayRendering:
        """:meth:`render` before the head: a composite ``(V, C, h, w)`` and maps ``(V, h, w, ...)``.

        Without ``colors`` the composite has no channels.
        """
        if cameras.height % self.downscale or cameras.width % self.downscale:
            raise ValueError(
                f'images of {cameras.height} x {cameras.width} cannot be rendered at 1/{self.downscale} of their size'
            )
        height, width = cameras.height // self.downscale, cameras.width // self.downscale
        origins, directions = cameras.rays(height, width)
        origins = origins[:, None, None].expand_as(directions).reshape(-1, 3)
        rays = self._render_rays(origins, directions.reshape(-1, 3), jitter, colors)
        shape = (len(cameras), height, width)
        return RayRendering(
            composite=rays.composite.view(*shape, rays.composite.shape[1]).permute(0, 3, 1, 2),
            depth=rays.depth.view(shape),
            opacity=rays.opacity.view(shape),
            weights=rays.weights.view(*shape, -1),
            depths=rays.depths.view(*shape, -1),
        )

    def _render_rays(self, origins: Tensor, directions: Tensor, jitter: bool, colors: bool) -> RayRendering:
        tables = self.tables()
        composite = self.head.compositor(tables) if colors else _no_colors
        edges = self.space.bin_edges(origins, self.sampling.stride)
        samples = len(edges) - 1 + self.sampling.fine_samples
        size = len(origins) if torch.is_grad_enabled() else max(1, SAMPLES_PER_CHUNK // samples)
        parts = [
            render_rays(tables, self.space, self.sampling, composite, o, d, jitter)
            for o, d in zip(origins.split(size), directions.split(size), strict=True)
        ]
        if len(parts) == 1:
            return parts[0]
        return RayRendering(
            *(torch.cat([getattr(part, name) for part in parts]) for name in RayRendering.__dataclass_fields__)
        )

    def query(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Density per meter ``(P,)`` and whether a cell is occupied ``(P,)`` at world points ``(P, 3)``."""
        tables = self.tables()
        rows = self.grid.rows(self.space.contract(points))
        return activate_density(
            gather_rows(tables.logits, rows), self.sampling.density_activation
        ), rows < self.grid.empty_row

    def occupancy(
        self, lower: Sequence[float], upper: Sequence[float], voxel: float, min_density: float = MIN_DENSITY
    ) -> Tensor:
        """Which voxels of a grid along the world's axes hold something.

        A voxel is occupied if one of its sample points is at least ``min_density`` per meter dense, as the renderer
        reads it. The points are a regular lattice: at least 2 per axis, and no farther apart than the smallest
        fine cells are large, so that no cell of the scene lies between them.

        Args:
            lower, upper: corners (x, y, z) of the grid in the LiDAR frame, meters; whole voxels apart.
            voxel: edge of a voxel, meters.

        Returns:
            ``(X, Y, Z)`` bool, from ``lower`` on.

        Raises:
            ValueError: the corners are not some whole voxels apart.
        """
        return occupancy(self, lower, upper, voxel, min_density)

    def query_text(self, cameras: Cameras, vectors: Tensor) -> Tensor:
        """How much what ``cameras`` ``(V,)`` see is like each of Q vectors of the feature space.

        Args:
            vectors: ``(Q, C)``, of any length, such as the embeddings of words.

        Returns:
            ``(Q, V, h, w)`` cosines between the rendered features and the vectors, -1 to 1. Rays that hit nothing
            have 0 with a color head.

        Raises:
            ValueError: vectors of another width than the features.
        """
        return similarities(self.render(cameras, what=('features',)).features, vectors)

    def to_ply(
        self,
        path: str | os.PathLike,
        cameras: Cameras,
        level: str = 'fine',
        min_density: float = MIN_DENSITY,
        boxes: bool = False,
    ) -> None:
        """Write the occupied cells as a PLY file, in the colors that ``cameras`` ``(V,)`` render of them.

        Cells that no pixel shows are gray. A scene of features has their principal components for colors.

        Args:
            level: ``coarse`` or ``fine``.
            min_density: cells of less density, per meter, are left out.
            boxes: a mesh of the cells' boxes; else their centers as points.

        Raises:
            ValueError: no such level.
            InputError: nothing can be written there.
        """
        # Colors and files need more than torch and numpy.
        from ..visualization.scene_ply import write_scene_ply

        write_scene_ply(self, path, cameras, level, min_density, boxes)

    def save(self, path: str | os.PathLike) -> None:
        """Write the scene to one file from which :meth:`load` makes one that renders the same, bit by bit."""
        from .scene_files import save_scene

        save_scene(self, path)

    @staticmethod
    def load(path: str | os.PathLike) -> Scene:
        """The scene of a file that :meth:`save` wrote, in main memory; :meth:`to` moves it.

        Raises:
            InputError: missing, damaged, or no such file.
        """
        from .scene_files import load_scene

        return load_scene(path)


def _no_colors(rows: Tensor, weights: Tensor) -> Tensor:
    """A compositor of nothing: rays without channels."""
    return weights.new_empty(len(rows), 0)
