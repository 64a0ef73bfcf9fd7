"""The sparse voxel scene: what one glance becomes, and all that is needed to render it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..modules.cameras import Cameras
from ..modules.heads import ColorHead, FeatureHead
from ..modules.renderer import RayRendering, RaySampling, VoxelTables, read, render_rays
from ..modules.space import ParameterizedSpace
from ..modules.volume_rendering import activate_density
from ..modules.voxels import VoxelGrid

# Samples held at a time when no gradient is kept: about 64 bytes each, so a chunk of rays takes some 250 MB.
SAMPLES_PER_CHUNK = 4_000_000


@dataclass(frozen=True)
class Rendering:
    """What V cameras of H x W see; maps are h x w, the render size.

    Attributes:
        image: ``(V, 3, H, W)`` RGB (not clamped), or ``(V, C, h, w)`` features where the head makes features.
        depth: ``(V, h, w)`` expected distance along the ray, metres.
        opacity: ``(V, h, w)`` sum of the weights.
        weights: ``(V, h, w, n)`` weights of the intervals along each ray.
        depths: ``(V, h, w, n + 1)`` ends of these intervals, metres.
    """

    image: Tensor
    depth: Tensor
    opacity: Tensor
    weights: Tensor
    depths: Tensor


@dataclass(frozen=True)
class Scene:
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

    def tables(self) -> VoxelTables:
        """The look-up tables of the renderer."""
        sampling = self.sampling
        return VoxelTables.build(self.grid, self.coarse, self.fine, sampling.logit_bound, sampling.published_quirks)

    def render(self, cameras: Cameras, camera_class: int = 1, jitter: bool = False) -> Rendering:
        """What ``cameras`` ``(V,)`` see.

        Args:
            camera_class: row of the decoder's camera embedding; the published training always used 1.
            jitter: random sample positions, as in training.

        Raises:
            ValueError: the image size is not a multiple of the downscale factor.
        """
        rays = self.render_composite(cameras, jitter)
        classes = torch.full((len(cameras),), camera_class, dtype=torch.int64, device=rays.composite.device)
        return Rendering(
            image=self.head(rays.composite, classes),
            depth=rays.depth,
            opacity=rays.opacity,
            weights=rays.weights,
            depths=rays.depths,
        )

    def render_composite(self, cameras: Cameras, jitter: bool = False) -> RayRendering:
        """:meth:`render` before the head: a composite ``(V, C, h, w)`` and maps ``(V, h, w, ...)``."""
        if cameras.height % self.downscale or cameras.width % self.downscale:
            raise ValueError(
                f'images of {cameras.height} x {cameras.width} cannot be rendered at 1/{self.downscale} of their size'
            )
        height, width = cameras.height // self.downscale, cameras.width // self.downscale
        origins, directions = cameras.rays(height, width)
        origins = origins[:, None, None].expand_as(directions).reshape(-1, 3)
        rays = self._render_rays(origins, directions.reshape(-1, 3), jitter)
        shape = (len(cameras), height, width)
        return RayRendering(
            composite=rays.composite.view(*shape, -1).permute(0, 3, 1, 2),
            depth=rays.depth.view(shape),
            opacity=rays.opacity.view(shape),
            weights=rays.weights.view(*shape, -1),
            depths=rays.depths.view(*shape, -1),
        )

    def _render_rays(self, origins: Tensor, directions: Tensor, jitter: bool) -> RayRendering:
        tables = self.tables()
        composite = self.head.compositor(tables)
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
        """Density per metre ``(P,)`` and whether a cell is occupied ``(P,)`` at world points ``(P, 3)``."""
        tables = self.tables()
        rows = self.grid.rows(self.space.contract(points))
        return activate_density(read(tables.logits, rows), self.sampling.density_activation), rows < self.grid.empty_row
