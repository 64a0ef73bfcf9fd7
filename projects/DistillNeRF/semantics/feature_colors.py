"""Colors of rendered or teacher features: their first three principal components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Quantiles of the fitted values that become the darkest and the brightest value of a color channel.
LOWEST, HIGHEST = 0.02, 0.98
# More features than this are thinned out evenly before the fit.
LARGEST_FIT = 100_000


@dataclass(frozen=True)
class FeatureColors:
    """Show the first three principal components of features as red, green and blue.

    Attributes:
        mean: ``(C,)`` mean of the features.
        components: ``(3, C)`` unit directions, the first with the greatest variance; those that do not exist (features
            of fewer than three channels, or constant) are zero.
        low, high: ``(3,)`` values along the components that become 0 and 1.
    """

    mean: Tensor
    components: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def fit(cls, features: Tensor) -> FeatureColors:
        """Fit the colors to features ``(..., C)`` of everything that shall be drawn alike; NaN is left out.

        The sign of a component is free: its largest entry is made positive, so that equal features give equal colors
        in every run.

        Raises:
            ValueError: no feature is finite.
        """
        rows = features.detach().reshape(-1, features.shape[-1]).cpu()
        rows = rows[rows.isfinite().all(dim=1)].double()
        if not len(rows):
            raise ValueError('no feature is finite: nothing to fit colors to')
        rows = rows[:: -(-len(rows) // LARGEST_FIT)]
        mean = rows.mean(dim=0)
        values, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
        # Ascending; what is no more than rounding carries no color.
        kept = values.flip(0)[:3] > values[-1].clamp_min(0) * 1e-12
        found = vectors.flip(1)[:, :3].T * kept[:, None]
        components = torch.zeros(3, rows.shape[1], dtype=rows.dtype)
        components[: len(found)] = found
        largest = components.gather(1, components.abs().argmax(dim=1, keepdim=True))
        components = components * torch.where(largest < 0, -1.0, 1.0)
        values = (rows - mean) @ components.T
        low, high = values.quantile(torch.tensor([LOWEST, HIGHEST], dtype=rows.dtype), dim=0)
        # Nearly all may be alike: an empty sky with a single object in it.
        low = torch.where(low < high, low, values.amin(dim=0))
        high = torch.where(low < high, high, values.amax(dim=0))
        return cls(mean, components, low, high)

    def colors(self, features: Tensor) -> np.ndarray:
        """Return the colors ``(..., 3)`` uint8 RGB of features ``(..., C)``; black where they are not finite."""
        features = features.detach().cpu().double()
        values = (features - self.mean) @ self.components.T
        span = self.high - self.low
        shares = torch.where(span > 0, (values - self.low) / span.clamp_min(1e-12), torch.full_like(span, 0.5))
        return (shares.clamp(0, 1).nan_to_num(0) * 255).round().byte().numpy()


def palette(features: Tensor, teacher: Tensor | None = None) -> FeatureColors:
    """Fit colors to rendered features ``(T, C, h, w)``, and to the teacher's if they have as many channels."""
    drawn = [features] if teacher is None or teacher.shape[1] != features.shape[1] else [features, teacher]
    rows = [part.movedim(1, -1).reshape(-1, part.shape[1]).float() for part in drawn]
    return FeatureColors.fit(torch.cat([part.to(rows[0].device) for part in rows]))
