"""The network: the encoder (coarse and fine depth, lifting, pooling, sparse convolutions) makes scenes of views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from ..geometry.cameras import Cameras
from ..geometry.contraction import ParameterizedSpace
from ..geometry.tensors import full_precision
from ..geometry.views import Views
from ..kernels.selection import set_kernels
from ..modules.chunked import set_activation_checkpointing
from ..modules.coarse_depth import COLORS, CoarseDepth, CoarseDepthNet
from ..modules.depth_bins import LogBins
from ..modules.fine_depth import FineDepth, FineDepthNet
from ..modules.heads import ColorHead, FeatureHead, build_head
from ..modules.past_agreement import PastAgreement, believed
from ..modules.plane_sweep import PlaneSweep
from ..modules.pooling import candidate_positions, grow, pool_views
from ..modules.ray_inputs import RAY_CHANNELS, ray_inputs
from ..modules.renderer import RaySampling
from ..modules.source_blend import SourceBlend
from ..modules.source_views import Sources
from ..modules.sparse_conv import SparseVoxelNet
from ..modules.voxels import VoxelGrid
from ..utils.precision import DEFAULT, computing
from .compiling import compile_part
from .frozen_depth import FrozenDepth
from .scene import Scene


@dataclass(frozen=True)
class Encoded:
    """The encoder's output for one sample: its scene, and the coarse and fine depth of its V input views."""

    scene: Scene
    coarse: CoarseDepth
    fine: FineDepth


class DistillNeRF(nn.Module):
    """Reconstruct a sparse voxel scene from images of several cameras (paper section 3; docs/NETWORK.md).

    Args:
        space: keyword arguments of :class:`ParameterizedSpace`.
        levels: coarse and fine level of the voxel grid.
        channels: channels of the voxel features of each level; image features have twice as many.
        coarse: keyword arguments of :class:`CoarseDepthNet`.
        fine: keyword arguments of :class:`FineDepthNet`.
        voxel: keyword arguments of :class:`SparseVoxelNet`.
        sampling: keyword arguments of :class:`RaySampling` without ``published_quirks``.
        head: keyword arguments of :func:`build_head`.
        downscale: image size over render size.
        jitter: random sample positions while training (``stochastic_render_sample``).
        source_blend: keyword arguments of :class:`SourceBlend` without ``features``: it blends colors, or features of
            the pixels, and depth of the input views into what is rendered; ``None`` for none, as published.
        published_quirks: reproduce the oddities of the published code that change numbers: those of
            :class:`RaySampling` and :meth:`VoxelTables.build`, and those of the losses (:class:`.objective.Objective`).
        depth_weights: weights of the frozen depth network, for views without frozen-depth features: the published file
            of Depth-Anything v1 ViT-B, or a folder of the hub of v1 or v2 (:mod:`.depth_folder`). They are read at
            their first use, and are no part of the network's own weights.
        activation_checkpointing: keep less for the backward pass: compute the blocks of the pyramids, the scorer, the
            sparse network and the decoder twice in a training step.
        kernels: ``'auto'``, ``'torch'`` or ``'triton'``: see :mod:`..kernels.selection`.
        compile: compile the pyramids, the combiners after them and the color decoder (``torch.compile``) when they
            first run, which takes minutes. Names of weights stay. On a CPU a C++ compiler is needed, on CUDA Triton;
            without it the first run raises :class:`InputError`.
        rows_per_pixel: points over the height of a pixel that are lifted (:func:`.pooling.pool_views`); odd.
        depth_bins: keyword arguments of :class:`LogBins`, the bins of the coarse depth net; ``None`` takes those along
            which rays are sampled (:meth:`ParameterizedSpace.bin_edges`), as published.
        ray_inputs: both depth nets read the rays of the pixels beside their colors
            (:func:`..modules.ray_inputs.ray_inputs`), so that depth follows the cameras.
        num_past: 1 to lift the views of the keyframe before (:attr:`Views.past`) as well, where a sample has some, by
            the same nets. In the voxels they count as far as the present views do not see through them
            (:class:`..modules.past_agreement.PastAgreement`).
        plane_sweep: keyword arguments of :class:`..modules.plane_sweep.PlaneSweep`, which compares each view with the
            other views of the sample and, with ``num_past``, those of the past, at the depth of each bin; ``None`` for
            none, as published.
        past_gradient: the depth nets are trained through the past views, too. Without, nothing is kept of these for the
            backward pass; the present views train the same nets.

    Raises:
        ValueError: ``rows_per_pixel`` is not odd, or ``num_past`` neither 0 nor 1.

    Attributes:
        precision: of the forward pass and of the scenes that it makes (:mod:`..utils.precision`); an autocast around
            it counts, too.
    """

    def __init__(
        self,
        space: dict | None = None,
        levels: Sequence[int] = (7, 9),
        channels: int = 32,
        coarse: dict | None = None,
        fine: dict | None = None,
        voxel: dict | None = None,
        sampling: dict | None = None,
        head: dict | None = None,
        downscale: int = 2,
        jitter: bool = False,
        source_blend: dict | None = None,
        published_quirks: bool = False,
        depth_weights: str | None = None,
        activation_checkpointing: bool = False,
        kernels: str = 'auto',
        compile: bool = False,
        rows_per_pixel: int = 1,
        depth_bins: dict | None = None,
        ray_inputs: bool = False,
        num_past: int = 0,
        plane_sweep: dict | None = None,
        past_gradient: bool = False,
    ) -> None:
        super().__init__()
        if num_past not in (0, 1):
            raise ValueError(f'num_past is {num_past}: give 1 for the keyframe before as a further input, or 0')
        self.precision = DEFAULT
        self.space = ParameterizedSpace(**(space or {}))
        self.coarse_level, self.fine_level = levels
        self.sampling = RaySampling(**(sampling or {}), published_quirks=published_quirks)
        self.channels = channels
        self.downscale = downscale
        self.jitter = jitter
        self.rows_per_pixel = _odd(rows_per_pixel)
        self.published_quirks = published_quirks
        self.depth_bins = None if depth_bins is None else LogBins(**depth_bins)
        self.ray_inputs = ray_inputs
        in_channels = COLORS + RAY_CHANNELS * ray_inputs
        num_bins = len(self.bin_edges(torch.empty(()))) - 1
        self.coarse_net = CoarseDepthNet(num_bins, in_channels=in_channels, **(coarse or {}))
        self.fine_net = FineDepthNet(2 * channels, self.coarse_net.channels, in_channels=in_channels, **(fine or {}))
        self.voxel_net = SparseVoxelNet(channels, **(voxel or {}))
        self.frozen_depth = FrozenDepth(depth_weights, self.coarse_net.depth_channels)
        self.head = build_head(**{'type': 'color', 'channels': channels, **(head or {})})
        self.blend = None if source_blend is None else self._blend(**source_blend)
        if self.blend is not None and self.blend.past and not num_past:
            raise ValueError('source_blend.past takes colors of the past, but there is none: set num_past=1, too')
        self.num_past = int(num_past)
        self.past_gradient = past_gradient
        self.plane_sweep = None if plane_sweep is None else PlaneSweep(self.coarse_net.channels, **plane_sweep)
        self.agreement = PastAgreement() if num_past else None
        set_activation_checkpointing(self, activation_checkpointing)
        set_kernels(self, kernels)
        # The layout in which convolutions are fastest on CPUs and under tensor cores.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        if compile:
            for part in self._dense_parts():
                compile_part(part)

    def _blend(self, **settings) -> SourceBlend:
        """Build the blend of what the head renders."""
        if 'features' in settings:
            raise ValueError('source_blend.features follows from the head: leave it out')
        if isinstance(self.head, FeatureHead):
            settings['features'] = (self.head.settings['out_channels'], 2 * self.channels)
        return SourceBlend(**settings)

    def _dense_parts(self) -> list[nn.Module]:
        """Return the parts that are convolutions over whole images; the others have sizes that depend on the data."""
        coarse, fine = self.coarse_net, self.fine_net
        decoder = self.head.decoder if isinstance(self.head, ColorHead) else None
        parts = (coarse.pyramid, coarse.combiner, fine.pyramid, fine.combiner, decoder)
        return [part for part in parts if part is not None]

    def encode(self, batch: Sequence[Views]) -> list[Encoded]:
        """Encode the input views of every sample of a batch: one scene each."""
        if len({tuple(views.images.shape[1:]) for views in batch}) > 1:
            return [encoded for views in batch for encoded in self.encode([views])]
        with computing(self.precision, batch[0].images.device.type):
            return self._encode(batch)

    def _encode(self, batch: Sequence[Views]) -> list[Encoded]:
        """Encode samples whose images have one size."""
        before = [views.past if self.num_past else None for views in batch]
        present = self._depths_of_each(batch, before)
        # After the present: older versions of torch keep the weights that autocast casts, without gradient if these
        # were cast where there is none.
        past = self._past_depths(batch)
        parts = zip(batch, present, past, strict=True)
        return [Encoded(self._scene(views, *depth, of_past), *depth) for views, depth, of_past in parts]

    def _depths_of_each(
        self, batch: Sequence[Views], others: Sequence[Views | None]
    ) -> list[tuple[CoarseDepth, FineDepth]]:
        coarse, fine = self.depths(batch, others)
        counts = [len(views) for views in batch]
        return list(zip(_split(coarse, counts), _split(fine, counts), strict=True))

    def _past_depths(self, batch: Sequence[Views]) -> list[tuple[CoarseDepth, FineDepth] | None]:
        """Predict the depth of the past views of every sample; ``None`` for samples and networks without."""
        known = [(views.past, views) for views in batch if views.past is not None and self.num_past]
        if not known:
            return [None] * len(batch)
        with torch.set_grad_enabled(self.past_gradient and torch.is_grad_enabled()):
            depths = iter(self._depths_of_each(*zip(*known, strict=True)))
        return [None if views.past is None else next(depths) for views in batch]

    def depths(
        self, batch: Sequence[Views], others: Sequence[Views | None] | None = None
    ) -> tuple[CoarseDepth, FineDepth]:
        """Predict coarse and fine depth of the views of all samples of a batch, whose images have one size.

        Args:
            batch: the views of each sample.
            others: further views of each sample, with which a plane sweep compares them; ``None`` for none.
        """
        images = self.depth_inputs(batch)
        edges = self._edges(images, batch)
        features = self.coarse_net.features(images, self._depth_features(batch))
        added = self._swept(batch, others or [None] * len(batch), features, edges)
        coarse = self.coarse_net.render(features, edges, images[:, COLORS:], added)
        return coarse, self.fine_net(images, coarse)

    def _swept(
        self, batch: Sequence[Views], others: Sequence[Views | None], features: Tensor, edges: Tensor
    ) -> Tensor | None:
        """Return what a plane sweep adds to the logits of the bins, ``(N, D, H, W)``; ``None`` without one."""
        if self.plane_sweep is None:
            return None
        counts = [len(views) for views in batch]
        edges = edges.expand(len(features), -1)
        parts = []
        for views, further, context, bins in zip(
            batch, others, features.split(counts), edges.split(counts), strict=True
        ):
            described = self.plane_sweep.describe(views.images)
            theirs, their_cameras = described, views.cameras
            if further is not None:
                theirs = torch.cat([described, self.plane_sweep.describe(further.images)])
                their_cameras = views.cameras.joined(further.cameras)
            parts.append(self.plane_sweep(described, views.cameras, bins, theirs, their_cameras, context))
        return torch.cat(parts)

    def depth_inputs(self, batch: Sequence[Views]) -> Tensor:
        """Return what the depth nets read, ``(N, in_channels, H, W)``: all images, with their rays if so configured."""
        parts = [views.images for views in batch]
        if self.ray_inputs:
            parts = [torch.cat([views.images, ray_inputs(views.cameras).to(views.images)], dim=1) for views in batch]
        return torch.cat(parts).contiguous(memory_format=torch.channels_last)

    def bin_edges(self, like: Tensor) -> Tensor:
        """Return the edges ``(D + 1,)`` of the bins of coarse depth, meters, in dtype and device of ``like``."""
        return self.space.bin_edges(like) if self.depth_bins is None else self.depth_bins.edges(like)

    def _edges(self, images: Tensor, batch: Sequence[Views]) -> Tensor:
        """Return the edges of the bins of coarse depth: ``(D + 1,)``, or ``(N, D + 1)`` where they follow cameras."""
        if self.depth_bins is None or self.depth_bins.focal is None:
            return self.bin_edges(images)
        return torch.cat([self.depth_bins.edges_of(views.cameras) for views in batch]).to(images)

    def _depth_features(self, batch: Sequence[Views]) -> Tensor | None:
        """Return the frozen-depth features of all images of the batch; ``None`` for a network without them."""
        features = [views.depth_features for views in batch]
        missing = [views.images for views in batch if views.depth_features is None]
        if missing and self.coarse_net.combiner is not None and self.frozen_depth.path is not None:
            computed = iter(self.frozen_depth(torch.cat(missing)).split([len(images) for images in missing]))
            features = [next(computed) if known is None else known for known in features]
        known = [part for part in features if part is not None]
        return torch.cat(known) if len(known) == len(features) else None

    def _scene(
        self, views: Views, coarse: CoarseDepth, fine: FineDepth, past: tuple[CoarseDepth, FineDepth] | None = None
    ) -> Scene:
        levels = self.coarse_level, self.fine_level
        cameras, lifted, votes = views.cameras, fine, None
        if past is not None and views.past is not None:
            cameras, lifted, votes = self._with_past(views, coarse, fine, views.past.cameras, past[1])
        grid, coarse_voxels, fine_voxels = pool_views(cameras, lifted, self.space, *levels, self.rows_per_pixel, votes)
        grid, coarse_voxels = grow(grid, coarse_voxels, self.voxel_net.grow)
        sources = None if self.blend is None else self._sources(self.blend, views, (coarse, fine), past)
        return self.scene(grid, self.voxel_net(coarse_voxels, fine_voxels, grid), fine_voxels, sources)

    @staticmethod
    def _sources(
        blend: SourceBlend,
        views: Views,
        present: tuple[CoarseDepth, FineDepth],
        past: tuple[CoarseDepth, FineDepth] | None,
    ) -> Sources:
        """Return the views that are blended in: those of the present and, if so configured, of the past."""
        features = blend.of_images(present[1].features)
        sources = Sources(views.images, views.cameras, _distances(*present), features=features)
        if not blend.past:
            return sources
        of_past = torch.zeros(len(views), dtype=torch.bool, device=sources.distances.device)
        if past is None or views.past is None:
            return replace(sources, past=of_past)
        before = blend.of_images(past[1].features)
        return Sources(
            torch.cat([views.images, views.past.images]),
            views.cameras.joined(views.past.cameras),
            torch.cat([sources.distances, _distances(*past)]),
            torch.cat([of_past, torch.ones_like(of_past[:1]).expand(len(views.past))]),
            None if features is None or before is None else torch.cat([features, before]),
        )

    def _with_past(
        self, views: Views, coarse: CoarseDepth, fine: FineDepth, before: Cameras, past: FineDepth
    ) -> tuple[Cameras, FineDepth, Tensor]:
        """Join what the present views lift with what those of the past lift.

        Args:
            views, coarse, fine: of the present.
            before: ``(N,)`` the cameras of the past.
            past: what they lift.

        Returns:
            the cameras, the lifted candidates, and their votes in the voxels.
        """
        assert self.agreement is not None
        points = candidate_positions(before, full_precision(past.candidates)).reshape(-1, 3)
        belief = self.agreement(points, views.cameras, _distances(coarse, fine))
        votes = torch.cat([torch.ones_like(full_precision(fine.occupancy)).reshape(-1), belief])
        past = believed(past, belief, self.fine_net.logit_bound)
        return views.cameras.joined(before), _joined(fine, past), votes

    def scene(self, grid: VoxelGrid, coarse: Tensor, fine: Tensor, sources: Sources | None = None) -> Scene:
        """Make a scene of processed coarse voxels ``(C, channels + 1)`` and pooled fine ones ``(F, channels + 1)``.

        Args:
            sources: the source views, if the network blends them in.
        """
        return Scene(
            grid=grid,
            coarse=coarse,
            fine=fine,
            space=self.space,
            sampling=self.sampling,
            head=self.head,
            downscale=self.downscale,
            precision=self.precision,
            blend=self.blend,
            sources=sources,
        )

    def forward(self, views: Views) -> Scene:
        """Reconstruct the scene of one sample."""
        return self.encode([views])[0].scene


def _distances(coarse: CoarseDepth, fine: FineDepth) -> Tensor:
    """Return the distances ``(V, H, W)`` of what the views show, meters, without gradient.

    They are the fine depth; where the fine candidates have no density, and so no depth, the coarse one.
    """
    first = full_precision(fine.candidates[..., 0])
    known, otherwise = full_precision(fine.depth), full_precision(coarse.depth)
    return torch.where(known < first, otherwise, known).detach()


def _odd(rows_per_pixel: int) -> int:
    if rows_per_pixel < 1 or rows_per_pixel % 2 == 0:
        raise ValueError(f'rows_per_pixel is {rows_per_pixel}: one of the rows is the middle; give 1, 3, 5, ...')
    return rows_per_pixel


def _joined(first: FineDepth, second: FineDepth) -> FineDepth:
    """Join what is known of views of one size along their first dimension."""
    return FineDepth(
        **{field.name: torch.cat([getattr(first, field.name), getattr(second, field.name)]) for field in fields(first)}
    )


def _split(value: CoarseDepth | FineDepth, counts: list[int]) -> list:
    """Cut a dataclass of tensors along their first dimension."""
    columns: list[tuple[Tensor, ...]] = [getattr(value, field.name).split(counts) for field in fields(value)]
    return [type(value)(*row) for row in zip(*columns, strict=True)]
