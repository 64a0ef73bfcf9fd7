"""The heads: from samples of the voxel field to pixels, either RGB or features of a foundation model.

See docs/NETWORK.md#rendering; paper sections 3.3 and 3.4.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.tensors import full_precision
from .decoder import ColorDecoder
from .fused_rays import FusedHits
from .layers import soft_clamp
from .renderer import Compositor, Hits, VoxelTables
from .segments import segment_offsets, weighted_segment_sum

# The row of the camera embedding that the published training always used.
CAMERA_CLASS = 1


class ColorHead(nn.Module):
    """Composite voxel features along the rays, then decode RGB with a small CNN.

    Args:
        channels: features per voxel and level.
        decoder: keyword arguments of :class:`ColorDecoder`.
    """

    renders = 'rgb'
    kernels = 'auto'

    def __init__(self, channels: int, **decoder) -> None:
        super().__init__()
        self.settings = {'type': 'color', 'channels': channels, **decoder}
        # The composite has one channel more, constant -1: zero padding makes it mark the border (border-channel).
        self.decoder = ColorDecoder(2 * channels + 1, **decoder)

    def compositor(self, tables: VoxelTables) -> Compositor:
        """Return the function that composites (fine, coarse) voxel features; samples in empty space count as zero."""
        grid = tables.grid
        coarse = torch.arange(grid.num_coarse, dtype=grid.parents.dtype, device=grid.parents.device)
        coarse_of_row = torch.cat([grid.parents, coarse])

        def composite(hits: Hits | FusedHits, weights: Tensor) -> Tensor:
            if isinstance(hits, FusedHits):
                fine, _ = hits.composite(tables.fine, weights, grid.num_fine)
                coarse, _ = hits.composite(tables.coarse, weights, grid.empty_row, coarse_of_row)
                return F.pad(torch.cat([fine, coarse], dim=1), (0, 1))
            weights = hits.select(weights)
            coarse_rows = coarse_of_row.index_select(0, hits.rows)
            coarse = weighted_segment_sum(tables.coarse, coarse_rows, weights, hits.offsets)
            in_fine = hits.rows < grid.num_fine
            chosen = in_fine.nonzero().squeeze(1)
            fine_offsets = segment_offsets(in_fine).index_select(0, hits.offsets)
            fine_rows = hits.rows.index_select(0, chosen)
            fine = weighted_segment_sum(tables.fine, fine_rows, weights.index_select(0, chosen), fine_offsets)
            return F.pad(torch.cat([fine, coarse], dim=1), (0, 1))

        return composite

    def opaque(self, features: Tensor) -> Tensor:
        """Return the rendered features ``(N, C)`` of rays that see one opaque cell of (fine, coarse) features alone."""
        return features

    def forward(self, composite: Tensor, camera_classes: Tensor | int | None = None) -> Tensor:
        """Decode a composite ``(V, channels, h, w)`` to RGB ``(V, 3, H, W)``, not clamped.

        Args:
            camera_classes: rows of the camera embedding ``(V,)``, or one for all; ``None`` for
                :data:`CAMERA_CLASS`.
        """
        if not isinstance(camera_classes, Tensor):
            number = CAMERA_CLASS if camera_classes is None else camera_classes
            camera_classes = torch.full((len(composite),), number, dtype=torch.int64, device=composite.device)
        return self.decoder(composite, camera_classes)

    def features(self, composite: Tensor) -> Tensor:
        """Return the voxel features, summed along the rays by weight, of a composite ``(V, channels, h, w)``.

        Returns:
            ``(V, 2 * channels, h, w)``, fine then coarse.
        """
        return (composite[:, :-1] + 1) / 2


class FeatureHead(nn.Module):
    """Apply an MLP to every row of the voxel tables (empty space included, as published), then composite; no decoder.

    What is left of a ray at its end has the features of empty space, as it has where that has some density: rays that
    hit nothing would have -1 in all channels otherwise.

    Args:
        channels: features per voxel and level.
        out_channels: channels of the rendered features, as many as the teacher features have.
        bound: soft clamp of the MLP's output.
    """

    renders = 'features'
    kernels = 'auto'

    def __init__(self, channels: int, out_channels: int = 64, bound: float = 10.0) -> None:
        super().__init__()
        self.settings = {'type': 'feature', 'channels': channels, 'out_channels': out_channels, 'bound': bound}
        self.net = nn.Sequential(
            nn.Linear(2 * channels, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, out_channels)
        )
        self.bound = bound

    def compositor(self, tables: VoxelTables) -> Compositor:
        """Return the function that composites the outputs of the MLP, which runs once per row of the table."""
        fine = torch.cat([tables.fine, tables.coarse.index_select(0, tables.grid.parents)], dim=1)
        coarse = F.pad(tables.coarse, (tables.fine.shape[1], 0, 0, 1))
        colors = self._outputs(torch.cat([fine, coarse]))

        def composite(hits: Hits | FusedHits, weights: Tensor) -> Tensor:
            if isinstance(hits, FusedHits):
                sums, occupied = hits.composite(colors, weights, len(colors) - 1)
                whole = 1 if tables.clear else weights.sum(1)
                return sums + (whole - occupied)[:, None] * colors[-1]
            # Most samples hit nothing and have the same features: their weights are added up first.
            if tables.clear:
                empty = 1 - weights.masked_fill(~hits.occupied, 0).sum(1, keepdim=True)
            else:
                empty = weights.masked_fill(hits.occupied, 0).sum(1, keepdim=True)
            return weighted_segment_sum(colors[:-1], hits.rows, hits.select(weights), hits.offsets) + empty * colors[-1]

        return composite

    def opaque(self, features: Tensor) -> Tensor:
        """Return the rendered features ``(N, C)`` of rays that see one opaque cell of (fine, coarse) features alone."""
        return 2 * self._outputs(features) - 1

    def _outputs(self, features: Tensor) -> Tensor:
        return soft_clamp(full_precision(self.net(features)), self.bound)

    def features(self, composite: Tensor) -> Tensor:
        """Return the composite ``(V, channels, h, w)`` itself: it is the rendered features."""
        return composite

    def forward(self, composite: Tensor, camera_classes: Tensor | int | None = None) -> Tensor:
        """Return the composite itself, as :meth:`features`: cameras make no difference."""
        return composite


def build_head(type: str, channels: int, **settings) -> ColorHead | FeatureHead:
    """Build a head.

    Args:
        type: ``color`` or ``feature``.
        settings: the other arguments of the head; its attribute ``settings`` holds all that build it again.
    """
    heads = {'color': ColorHead, 'feature': FeatureHead}
    if type not in heads:
        raise ValueError(f'unknown head {type!r}: use one of {sorted(heads)}')
    return heads[type](channels, **settings)
