"""The sparse voxel scene: the network's output, with all that is needed to render it."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Collection, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor
from typing_extensions import Self

from ..geometry.cameras import Cameras
from ..geometry.tensors import TensorFields, full_precision
from ..modules.fused_rays import FusedHits, render_rays
from ..modules.heads import ColorHead, FeatureHead
from ..modules.renderer import Compositor, Hits, RayRendering
from ..modules.source_blend import SourceBlend
from ..modules.source_views import Sources
from ..semantics.feature_colors import palette
from ..semantics.text_encoders import Queries, similarities
from ..utils.precision import DEFAULT, computing
from .cells import occupied_cells, require_level, rgb_of_cells
from .scene_files import load_scene, save_scene
from .voxel_field import MIN_DENSITY, VoxelField

T = TypeVar('T')

# Samples per chunk of rays when no gradient is kept: about 64 bytes each, so a chunk takes some 250 MB.
SAMPLES_PER_CHUNK = 4_000_000
# The outputs that a rendering can be asked for.
OUTPUTS = ('rgb', 'depth', 'features', 'opacity')


@dataclass(frozen=True)
class Rendering(TensorFields):
    """The rendering of V cameras of H x W; maps are h x w, the render size.

    Depth and opacity have the size of the images, H x W, if the scene takes colors from its source views.

    Attributes:
        depth: ``(V, h, w)`` expected distance along the ray, meters.
        opacity: ``(V, h, w)`` sum of the weights.
        rgb: ``(V, 3, H, W)``, not clamped; ``None`` if it was not asked for, or the head renders features.
        features: ``(V, C, h, w)`` rendered features: the output of a feature head, or with a color head the voxel
            features (fine, then coarse), composited. ``None`` if they were not asked for.
        weights: ``(V, h, w, n)`` weights of the intervals along each ray; ``None`` if they were not kept.
        depths: ``(V, h, w, n + 1)`` ends of these intervals, meters; ``None`` if they were not kept.
        voxel_depth: ``(V, h, w)`` depth of the voxels alone; ``None`` where ``depth`` is that.
    """

    depth: Tensor
    opacity: Tensor
    rgb: Tensor | None = None
    features: Tensor | None = None
    weights: Tensor | None = None
    depths: Tensor | None = None
    voxel_depth: Tensor | None = None

    @property
    def image(self) -> Tensor | None:
        """Return ``rgb``, or ``features`` where there is no RGB: the name until version 0.2, for one release."""
        return self.features if self.rgb is None else self.rgb


@dataclass(frozen=True)
class CompositeRendering(TensorFields):
    """The rendering of V cameras before the head; maps are h x w, the render size.

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
    """A voxel field with a head: it renders without the encoder.

    Attributes:
        head: turns samples into pixels.
        downscale: image size over render size.
        precision: of the head (:mod:`..utils.precision`); a file has none, so a scene that is read has the usual one.
        blend: blends colors or features, and depth, of the source views in; ``None`` if the voxels alone are rendered.
        sources: the source views; if and only if there is a blend.
    """

    head: ColorHead | FeatureHead
    downscale: int
    precision: str = DEFAULT
    blend: SourceBlend | None = None
    sources: Sources | None = None

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Apply ``torch.Tensor.to`` to all tensors (indices follow the device only); the head is copied."""
        head = copy.deepcopy(self.head).to(*args, **kwargs)
        blend = None if self.blend is None else copy.deepcopy(self.blend).to(*args, **kwargs)
        return dataclasses.replace(super().to(*args, **kwargs), head=head, blend=blend)

    def render(
        self,
        cameras: Cameras,
        outputs: Collection[str] | None = None,
        *,
        camera_class: int | None = None,
        jitter: bool = False,
        withhold_own: bool | Sequence[bool] = False,
        what: Collection[str] | None = None,
    ) -> Rendering:
        """Render ``cameras`` ``(V,)``.

        Args:
            cameras: ``(V,)`` cameras of the images to render.
            outputs: some of :data:`OUTPUTS`; ``None`` for the output of the head. Depth and opacity cost nothing
                and are always rendered. Without ``rgb`` no image is decoded; without ``rgb`` and ``features`` nothing
                is composited.
            camera_class: row of the decoder's camera embedding; ``None`` for the one of the published training.
            jitter: random sample positions, as in training.
            withhold_own: take no colors from a source view of the same camera and place: else they are copied where
                that is the rendered view itself. One for all views, or one for each: a car that stands sees the next
                frame from the same place, too. Features are taken all the same: they are no inputs.
            what: the name of ``outputs`` until version 0.2, for one release.

        Raises:
            ValueError: the image size is not a multiple of the downscale factor, an output is unknown, or RGB is asked
                of a scene that renders features.
        """
        if what is not None:
            if outputs is not None:
                raise ValueError('what is the old name of outputs: give one of the two')
            outputs = what
        return SceneRenderer(self).render(
            cameras, outputs, camera_class=camera_class, jitter=jitter, withhold_own=withhold_own
        )

    def render_composite(self, cameras: Cameras, jitter: bool = False, colors: bool = True) -> CompositeRendering:
        """Render ``cameras`` before the head; without ``colors`` the composite has no channels."""
        return _result(SceneRenderer(self).composite_tiles(cameras, None, jitter, colors))

    def query_text(self, cameras: Cameras, vectors: Tensor | Queries) -> Tensor:
        """Compare the rendered features of ``cameras`` ``(V,)`` with each of Q queries.

        Args:
            cameras: ``(V,)`` cameras.
            vectors: ``(Q, C)`` of the feature space, of any length, such as the embeddings of words; or queries in
                words (:func:`..semantics.text_encoders.make_queries`).

        Returns:
            ``(Q, V, h, w)`` cosines between the rendered features and the vectors, -1 to 1; of queries in words what
            their encoder makes of them (:meth:`..semantics.text_encoders.Queries.heat`). Rays that hit nothing have 0
            with a color head.

        Raises:
            ValueError: the vectors have another width than the rendered features.
        """
        features = _require(self.render(cameras, ('features',)).features)
        return vectors.heat_maps(features) if isinstance(vectors, Queries) else similarities(features, vectors)

    def to_ply(
        self,
        path: str | os.PathLike,
        cameras: Cameras,
        level: str = 'fine',
        min_density: float = MIN_DENSITY,
        boxes: bool = False,
    ) -> None:
        """Write the occupied cells as a PLY file, in their colors in the renderings of ``cameras`` ``(V,)``.

        Cells that no pixel shows are gray. The colors of a scene of features are their principal components.

        Args:
            path: file to write.
            cameras: ``(V,)`` cameras.
            level: ``coarse`` or ``fine``.
            min_density: cells of less density, per meter, are left out.
            boxes: write a mesh of the cells' boxes; else their centers as points.

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
                colors = palette(_require(rendering.features)).colors(self.head.opaque(cells.features))
            else:
                colors = rgb_of_cells(cells, level, cameras, rendering.rgb, rendering.depth)
        write_ply(path, cells, colors, as_boxes=boxes)

    def save(self, path: str | os.PathLike) -> None:
        """Write the scene to one file; the scene that :meth:`load` reads from it renders the same, bit by bit."""
        save_scene(path, self, self.head, self.downscale, self.blend, self.sources)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Read a file that :meth:`save` wrote, into main memory; :meth:`to` moves the scene to a device.

        Raises:
            InputError: the file is missing, damaged, or holds no scene.
        """
        return load_scene(path, cls)


class SceneRenderer:
    """Render one scene many times: look-up tables and compositor are made once.

    Use it without gradients. It does not notice when the weights of the scene's head change.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._tables = scene.tables()

    @cached_property
    def _compositor(self) -> Compositor:
        with self._computing():
            return self.scene.head.compositor(self._tables)

    def _computing(self) -> AbstractContextManager:
        return computing(self.scene.precision, self.scene.fine.device.type)

    def render(
        self,
        cameras: Cameras,
        outputs: Collection[str] | None = None,
        *,
        camera_class: int | None = None,
        jitter: bool = False,
        withhold_own: bool | Sequence[bool] = False,
    ) -> Rendering:
        """Render ``cameras`` as :meth:`Scene.render` does."""
        return _result(
            self.tiles(cameras, outputs, camera_class=camera_class, jitter=jitter, withhold_own=withhold_own)
        )

    def tiles(
        self,
        cameras: Cameras,
        outputs: Collection[str] | None = None,
        rays_per_tile: int | None = None,
        *,
        camera_class: int | None = None,
        jitter: bool = False,
        withhold_own: bool | Sequence[bool] = False,
        keep_weights: bool = True,
    ) -> Generator[None, None, Rendering]:
        """Render tile by tile: yield after each one, so that rendering can be given up, and return the rendering.

        Args:
            cameras, outputs, camera_class, jitter, withhold_own: as in :meth:`Scene.render`.
            rays_per_tile: ``None`` for one tile, or without gradients as many rays as fit into some 250 MB.
            keep_weights: keep weights and depths of the samples, which take most of a rendering's memory.
        """
        head, chosen = self.scene.head, self._outputs(outputs)
        blend, sources = self.scene.blend, self.scene.sources
        # Which source is to be believed shows in its colors, too: depth alone needs them.
        decoded = head.renders in chosen or blend is not None
        colors = decoded or 'features' in chosen
        rays = yield from self.composite_tiles(cameras, rays_per_tile, jitter, colors, keep_weights)
        with self._computing():
            pixels = head(rays.composite, camera_class) if decoded else None
        rendered = {} if pixels is None else {head.renders: full_precision(pixels)}
        if 'features' in chosen - set(rendered):
            rendered['features'] = head.features(rays.composite)
        voxels = Rendering(rays.depth, rays.opacity, weights=rays.weights, depths=rays.depths, **rendered)
        if blend is None:
            return voxels
        assert sources is not None
        values, far = rendered[head.renders], self.scene.space.far
        with self._computing():
            blended = blend(sources, cameras, values, rays.depth, rays.opacity, far, withhold_own)
        return dataclasses.replace(
            voxels,
            **{head.renders: blended.values if head.renders in chosen else None},
            depth=blended.depth,
            opacity=blended.opacity,
            voxel_depth=rays.depth,
        )

    def _outputs(self, outputs: Collection[str] | None) -> set[str]:
        """Return the outputs as a set, after a check that they are known and that the head makes them."""
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
            rays = render_rays(self._tables, scene.space, scene.sampling, compositor, o, d, jitter, scene.head.kernels)
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

    def join(name: str) -> Tensor:
        values = [getattr(part, name) for part in parts]
        return values[0] if len(values) == 1 else torch.cat(values)

    def join_samples(name: str) -> Tensor | None:
        return None if getattr(parts[0], name) is None else join(name).view(*shape, -1)

    composite = join('composite')
    return CompositeRendering(
        composite=composite.view(*shape, composite.shape[1]).permute(0, 3, 1, 2),
        depth=join('depth').view(shape),
        opacity=join('opacity').view(shape),
        weights=join_samples('weights'),
        depths=join_samples('depths'),
    )


def _require(rendered: Tensor | None) -> Tensor:
    """Return an output that was asked for."""
    assert rendered is not None
    return rendered


def _result(steps: Generator[None, None, T]) -> T:
    """Run a generator to its end and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _no_colors(hits: Hits | FusedHits, weights: Tensor) -> Tensor:
    """Composite nothing: rays without channels."""
    return weights.new_empty(len(weights), 0)
