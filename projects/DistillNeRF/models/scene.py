"""The sparse voxel scene: what one glance becomes, and all that is needed to render it."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Collection, Generator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from typing_extensions import Self

from ..geometry.cameras import Cameras
from ..geometry.tensors import TensorFields
from ..modules.heads import ColorHead, FeatureHead
from ..modules.renderer import Compositor, RayRendering, render_rays
from ..semantics.feature_colors import palette
from ..semantics.text_encoders import similarities
from .cells import occupied_cells, require_level, rgb_of_cells
from .scene_files import load_scene, save_scene
from .voxel_field import MIN_DENSITY, VoxelField

# Samples held at a time when no gradient is kept: about 64 bytes each, so a chunk of rays takes some 250 MB.
SAMPLES_PER_CHUNK = 4_000_000
# What can be asked of a rendering.
OUTPUTS = ('rgb', 'depth', 'features', 'opacity')


@dataclass(frozen=True)
class Rendering(TensorFields):
    """What V cameras of H x W see; maps are h x w, the render size.

    Attributes:
        depth: ``(V, h, w)`` expected distance along the ray, meters.
        opacity: ``(V, h, w)`` sum of the weights.
        rgb: ``(V, 3, H, W)``, not clamped; ``None`` if it was not asked for, or the head renders features.
        features: ``(V, C, h, w)`` rendered features: what a feature head makes, or with a color head the voxels'
            features (fine, then coarse), composited. ``None`` if they were not asked for.
        weights: ``(V, h, w, n)`` weights of the intervals along each ray; ``None`` if they were not kept.
        depths: ``(V, h, w, n + 1)`` ends of these intervals, meters; ``None`` if they were not kept.
    """

    depth: Tensor
    opacity: Tensor
    rgb: Tensor | None = None
    features: Tensor | None = None
    weights: Tensor | None = None
    depths: Tensor | None = None

    @property
    def image(self) -> Tensor | None:
        """Return ``rgb``, or ``features`` where there is no RGB: the name until version 0.2, for one release."""
        return self.features if self.rgb is None else self.rgb


@dataclass(frozen=True)
class CompositeRendering(TensorFields):
    """What V cameras see before the head; maps are h x w, the render size.

    Attributes:
        composite: ``(V, C, h, w)`` ``2 * sum(weight * value) - 1`` along each ray; no channels if no colors were asked.
        depth, opacity, weights, depths: as in :class:`Rendering`.
    """

    composite: Tensor
    depth: Tensor
    opacity: Tensor
    weights: Tensor | None
    depths: Tensor | None


@dataclass(frozen=True)
class Scene(VoxelField):
    """A voxel field that renders without the encoder.

    Attributes:
        head: what turns samples into pixels.
        downscale: image size over render size.
    """

    head: ColorHead | FeatureHead
    downscale: int

    def to(self, *args, **kwargs) -> Self:
        """Apply ``torch.Tensor.to`` to all tensors (indices follow the device only); the head is copied."""
        return dataclasses.replace(super().to(*args, **kwargs), head=copy.deepcopy(self.head).to(*args, **kwargs))

    def render(
        self,
        cameras: Cameras,
        outputs: Collection[str] | None = None,
        *,
        camera_class: int | None = None,
        jitter: bool = False,
        what: Collection[str] | None = None,
    ) -> Rendering:
        """Render what ``cameras`` ``(V,)`` see.

        Args:
            outputs: some of :data:`OUTPUTS`; ``None`` for what the head makes, with depth and opacity. These two cost
                nothing and always come. Without ``rgb`` no image is decoded, without ``features`` as well no colors
                are composited.
            camera_class: row of the decoder's camera embedding; ``None`` for that of the published training.
            jitter: random sample positions, as in training.
            what: the name of ``outputs`` until version 0.2, for one release.

        Raises:
            ValueError: the image size is not a multiple of the downscale factor, something unknown is asked for, or
                RGB of a scene that renders features.
        """
        if what is not None:
            if outputs is not None:
                raise ValueError('what is the old name of outputs: give one of the two')
            outputs = what
        return SceneRenderer(self).render(cameras, outputs, camera_class=camera_class, jitter=jitter)

    def render_composite(self, cameras: Cameras, jitter: bool = False, colors: bool = True) -> CompositeRendering:
        """Render what ``cameras`` see before the head; without ``colors`` the composite has no channels."""
        return _result(SceneRenderer(self).composite_tiles(cameras, None, jitter, colors))

    def query_text(self, cameras: Cameras, vectors: Tensor) -> Tensor:
        """Compare what ``cameras`` ``(V,)`` see with each of Q vectors of the feature space.

        Args:
            vectors: ``(Q, C)``, of any length, such as the embeddings of words.

        Returns:
            ``(Q, V, h, w)`` cosines between the rendered features and the vectors, -1 to 1. Rays that hit nothing
            have 0 with a color head.

        Raises:
            ValueError: vectors of another width than the features.
        """
        return similarities(self.render(cameras, ('features',)).features, vectors)

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
        # plyfile is no part of what reconstructing and rendering need.
        from .ply import write_ply

        require_level(level)
        with torch.no_grad():
            rendering, cells = self.render(cameras), occupied_cells(self, level, min_density)
            if rendering.rgb is None:
                colors = palette(rendering.features).colors(self.head.opaque(cells.features))
            else:
                colors = rgb_of_cells(cells, level, cameras, rendering.rgb, rendering.depth)
        write_ply(path, cells, colors, as_boxes=boxes)

    def save(self, path: str | os.PathLike) -> None:
        """Write the scene to one file from which :meth:`load` makes one that renders the same, bit by bit."""
        save_scene(path, self, self.head, self.downscale)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Read a file that :meth:`save` wrote, into main memory; :meth:`to` moves the scene.

        Raises:
            InputError: missing, damaged, or no such file.
        """
        return load_scene(path, cls)


class SceneRenderer:
    """A scene with what all its renderings share: look-up tables and compositor are made once.

    Use one where a scene is rendered again and again without gradients. It does not notice when the weights of the
    scene's head change.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._tables = scene.tables()

    @cached_property
    def _compositor(self) -> Compositor:
        return self.scene.head.compositor(self._tables)

    def render(
        self,
        cameras: Cameras,
        outputs: Collection[str] | None = None,
        *,
        camera_class: int | None = None,
        jitter: bool = False,
    ) -> Rendering:
        """Render what ``cameras`` see, as :meth:`Scene.render`."""
        return _result(self.tiles(cameras, outputs, None, camera_class=camera_class, jitter=jitter))

    def tiles(
        self,
        cameras: Cameras,
        outputs: Collection[str] | None = None,
        rays_per_tile: int | None = None,
        *,
        camera_class: int | None = None,
        jitter: bool = False,
        keep_weights: bool = True,
    ) -> Generator[None, None, Rendering]:
        """Render in steps short enough to be given up: yield after each tile, and return the :class:`Rendering`.

        Args:
            cameras, outputs, camera_class, jitter: as in :meth:`Scene.render`.
            rays_per_tile: ``None`` for one tile, or without gradients as many rays as fit into some 250 MB.
            keep_weights: keep weights and depths of the samples, which are most of a rendering.
        """
        head, chosen = self.scene.head, self._outputs(outputs)
        wanted = bool({'rgb', 'features'} & chosen)
        rays = yield from self.composite_tiles(cameras, rays_per_tile, jitter, wanted, keep_weights)
        rendered = {head.renders: head(rays.composite, camera_class)} if head.renders in chosen else {}
        if 'features' in chosen - set(rendered):
            rendered['features'] = head.features(rays.composite)
        return Rendering(rays.depth, rays.opacity, weights=rays.weights, depths=rays.depths, **rendered)

    def _outputs(self, outputs: Collection[str] | None) -> set[str]:
        """Check what is asked for: it must be known, and the head must be able to make it."""
        renders = self.scene.head.renders
        if outputs is None:
            return {renders}
        chosen = {outputs} if isinstance(outputs, str) else set(outputs)
        if unknown := sorted(chosen - set(OUTPUTS)):
            raise ValueError(f'{", ".join(map(str, unknown))} cannot be rendered: ask for some of {", ".join(OUTPUTS)}')
        if 'rgb' in chosen and renders != 'rgb':
            raise ValueError('this scene renders features, not rgb: ask for features, or use a model with a color head')
        return chosen

    def composite_tiles(
        self,
        cameras: Cameras,
        rays_per_tile: int | None = None,
        jitter: bool = False,
        colors: bool = True,
        keep_weights: bool = True,
    ) -> Generator[None, None, CompositeRendering]:
        """Render rays tile by tile before the head; the arguments are those of :meth:`tiles`."""
        scene = self.scene
        if cameras.height % scene.downscale or cameras.width % scene.downscale:
            raise ValueError(
                f'images of {cameras.height} x {cameras.width} cannot be rendered at 1/{scene.downscale} of their size'
            )
        size = (cameras.height // scene.downscale, cameras.width // scene.downscale)
        origins, directions = cameras.rays(*size)
        origins = origins[:, None, None].expand_as(directions).reshape(-1, 3)
        directions = directions.reshape(-1, 3)
        compositor = self._compositor if colors else _no_colors
        count = rays_per_tile or self._rays_per_chunk(origins)
        parts = []
        for o, d in zip(origins.split(count), directions.split(count), strict=True):
            rays = render_rays(self._tables, scene.space, scene.sampling, compositor, o, d, jitter)
            parts.append(rays if keep_weights else dataclasses.replace(rays, weights=None, depths=None))
            yield
        return _maps(parts, (len(cameras), *size))

    def _rays_per_chunk(self, origins: Tensor) -> int:
        if torch.is_grad_enabled():
            return max(1, len(origins))
        sampling = self.scene.sampling
        samples = len(self.scene.space.bin_edges(origins, sampling.stride)) - 1 + sampling.fine_samples
        return max(1, SAMPLES_PER_CHUNK // samples)


def _maps(parts: list[RayRendering], shape: tuple[int, int, int]) -> CompositeRendering:
    """Join tiles of rays and give them the ``shape`` ``(V, h, w)`` of pixels."""

    def joined(name: str) -> Tensor | None:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else values[0] if len(values) == 1 else torch.cat(values)

    composite, weights, depths = joined('composite'), joined('weights'), joined('depths')
    return CompositeRendering(
        composite=composite.view(*shape, composite.shape[1]).permute(0, 3, 1, 2),
        depth=joined('depth').view(shape),
        opacity=joined('opacity').view(shape),
        weights=None if weights is None else weights.view(*shape, -1),
        depths=None if depths is None else depths.view(*shape, -1),
    )


def _result(steps: Generator[None, None, Rendering]) -> Rendering:
    """Run a generator to its end and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _no_colors(rows: Tensor, weights: Tensor) -> Tensor:
    """Composite nothing: rays without channels."""
    return weights.new_empty(len(rows), 0)
