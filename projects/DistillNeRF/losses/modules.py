"""Register the losses that a config names: ``dict(type='RGBL1Loss', loss_weight=1.0)``.

Every module returns ``loss_weight`` times a function of this package; defaults are the published settings of the
parameterized space. ``compares`` says what a module is computed on (:mod:`.subjects`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmdet3d.registry import MODELS
from torch import Tensor, nn

from .density import density_loss, line_of_sight_epsilon, line_of_sight_loss, opacity_loss, weight_entropy
from .depth import (
    clamped_depth_loss,
    depth_bins_loss,
    depth_loss,
    log_depth_loss,
    near_depth_edges,
    teacher_depth_loss,
)
from .image import PerceptualDistance, dssim, l1, l2


def build_loss(config: Mapping[str, Any]) -> nn.Module:
    """Build the loss of a config.

    Args:
        config: ``type``, its arguments, and, where the class leaves it open, ``compares``: one of
            :data:`.subjects.SUBJECTS`.
    """
    # The losses are mmdet3d's, whatever the default scope of the caller is.
    settings = {'_scope_': 'mmdet3d', **config}
    compares = settings.pop('compares', None)
    loss = MODELS.build(settings)
    if compares is not None:
        loss.compares = compares
    return loss


class _Weighted(nn.Module):
    """A loss with a coefficient.

    Attributes:
        compares: what it is computed on; ``None`` leaves that to its name or its config.
        loss_weight: the coefficient.
    """

    compares: str | None = None

    def __init__(self, loss_weight: float) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def extra_repr(self) -> str:
        """Return the settings, for the printed model."""
        settings = {key: value for key, value in vars(self).items() if isinstance(value, int | float)}
        return ', '.join(f'{key}={value}' for key, value in settings.items() if key != 'training')


@MODELS.register_module()
class RGBL1Loss(_Weighted):
    """Compute :func:`.image.l1` of images or features."""

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)

    def forward(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of two tensors of one shape."""
        return self.loss_weight * l1(estimate, target)


@MODELS.register_module()
class FeatureL2Loss(_Weighted):
    """Compute :func:`.image.l2` of features.

    What PSNR measures. Under :class:`RGBL1Loss`, pixels that are nearly right pull as hard as wrong ones, so that rare
    features are learned late.
    """

    compares = 'features'

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)

    def forward(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of two tensors of one shape."""
        return self.loss_weight * l2(estimate, target)


@MODELS.register_module()
class DepthLoss(_Weighted):
    """Compute :func:`.depth.depth_loss`: meters, NaN targets left out."""

    def __init__(self, loss_weight: float = 1.0, max_depth: float = 80.0) -> None:
        super().__init__(loss_weight)
        self.max_depth = max_depth

    def forward(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of two depth images of one shape."""
        return self.loss_weight * depth_loss(estimate, target, self.max_depth)


@MODELS.register_module()
class DepthClampLoss(_Weighted):
    """Compute :func:`.depth.clamped_depth_loss`: meters, NaN targets left out."""

    def __init__(self, loss_weight: float = 10.0, min_depth: float = 1e-5, max_depth: float = 80.0) -> None:
        super().__init__(loss_weight)
        self.min_depth = min_depth
        self.max_depth = max_depth

    def forward(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of two depth images of one shape."""
        return self.loss_weight * clamped_depth_loss(estimate, target, self.min_depth, self.max_depth)


@MODELS.register_module()
class TeacherDepthLoss(_Weighted):
    """Compute :func:`.depth.teacher_depth_loss`: meters, NaN targets left out."""

    def __init__(
        self,
        loss_weight: float = 10.0,
        min_depth: float = 1e-5,
        max_depth: float = 120.0,
        inner_range: float = 50.0,
    ) -> None:
        super().__init__(loss_weight)
        self.min_depth = min_depth
        self.max_depth = max_depth
        self.inner_range = inner_range

    def forward(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of two depth images of one shape."""
        loss = teacher_depth_loss(estimate, target, self.min_depth, self.max_depth, self.inner_range)
        return self.loss_weight * loss


@MODELS.register_module()
class LogDepthLoss(_Weighted):
    """Compute :func:`.depth.log_depth_loss`: meters, NaN targets left out."""

    def __init__(self, loss_weight: float = 1.0, min_depth: float = 0.1, max_depth: float = 120.0) -> None:
        super().__init__(loss_weight)
        self.min_depth = min_depth
        self.max_depth = max_depth

    def forward(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of two depth images of one shape."""
        return self.loss_weight * log_depth_loss(estimate, target, self.min_depth, self.max_depth)


@MODELS.register_module()
class DepthBinsLoss(_Weighted):
    """Compute :func:`.depth.depth_bins_loss` of the coarse estimate: NaN targets left out.

    Its names in a config are ``lidar_bins`` and ``teacher_bins``; another name says ``compares``.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)

    def forward(self, weights: Tensor, edges: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of weights ``(V, D, h, w)``, edges ``(V, D + 1)`` and depth ``(V, h_t, w_t)``."""
        return self.loss_weight * depth_bins_loss(weights, edges, target)


@MODELS.register_module()
class DepthEdgeLoss(_Weighted):
    """Compute :func:`.depth.clamped_depth_loss` near edges of the estimate.

    With ``lidar_depth`` or ``teacher_depth`` beside it, ``loss_weight`` is what those pixels count more.

    Args:
        start: iteration from which it counts; edges of an untrained network mean nothing.
        distance: pixels at most so far from an edge count (:func:`.depth.near_depth_edges`).
    """

    def __init__(
        self,
        loss_weight: float = 10.0,
        start: int = 0,
        distance: int = 2,
        min_depth: float = 1e-5,
        max_depth: float = 80.0,
    ) -> None:
        super().__init__(loss_weight)
        self.start = start
        self.distance = distance
        self.min_depth = min_depth
        self.max_depth = max_depth

    def forward(self, estimate: Tensor, target: Tensor, iteration: int) -> Tensor:
        """Return the scalar loss of depth ``(V, h, w)``; 0 (connected to the graph) before iteration ``start``."""
        if iteration < self.start:
            return 0 * estimate.sum()
        near = target.where(near_depth_edges(estimate, self.distance), float('nan'))
        return self.loss_weight * clamped_depth_loss(estimate, near, self.min_depth, self.max_depth)


@MODELS.register_module()
class DensityLoss(_Weighted):
    """Compute :func:`.density.density_loss`.

    Args:
        step: length over which densities count as opacity, meters.
        margin: points nearer than this before a surface of the teacher are not free, meters.
        behind: points of surfaces lie up to so far behind them, at random, meters.
        logarithmic: pull at transparent surfaces by the logarithm of their opacity.
    """

    compares = 'density'

    def __init__(
        self,
        loss_weight: float = 0.1,
        step: float = 0.5,
        margin: float = 1.0,
        behind: float = 0.0,
        logarithmic: bool = False,
    ) -> None:
        super().__init__(loss_weight)
        self.step = step
        self.margin = margin
        self.behind = behind
        self.logarithmic = logarithmic

    def forward(self, free: Tensor, surface: Tensor) -> Tensor:
        """Return the scalar loss of densities per meter, ``(P,)`` and ``(Q,)``."""
        return self.loss_weight * density_loss(free, surface, self.step, self.logarithmic)


@MODELS.register_module()
class WeightEntropyLoss(_Weighted):
    """Compute :func:`.density.weight_entropy`, samples along ``dim``."""

    compares = 'weights'

    def __init__(self, loss_weight: float = 0.01, dim: int = 1) -> None:
        super().__init__(loss_weight)
        self.dim = dim

    def forward(self, weights: Tensor) -> Tensor:
        """Return the scalar loss of rendering weights, ``(V, samples, h, w)`` by default."""
        return self.loss_weight * weight_entropy(weights, self.dim)


@MODELS.register_module()
class OpacityLoss(_Weighted):
    """Compute :func:`.density.opacity_loss`, samples along ``dim``."""

    compares = 'all_weights'

    def __init__(self, loss_weight: float = 0.1, dim: int = 1) -> None:
        super().__init__(loss_weight)
        self.dim = dim

    def forward(self, weights: Tensor) -> Tensor:
        """Return the scalar loss of rendering weights, ``(V, samples, h, w)`` by default."""
        return self.loss_weight * opacity_loss(weights, self.dim)


@MODELS.register_module()
class LineOfSightLoss(_Weighted):
    """Compute :func:`.density.line_of_sight_loss` with the schedule of :func:`.density.line_of_sight_epsilon`."""

    compares = 'line_of_sight'

    def __init__(
        self,
        loss_weight: float = 0.1,
        start: int = 14000,
        end: int = 28000,
        first_epsilon: float = 6.0,
        last_epsilon: float = 2.5,
        dim: int = 1,
    ) -> None:
        super().__init__(loss_weight)
        self.start = start
        self.end = end
        self.first_epsilon = first_epsilon
        self.last_epsilon = last_epsilon
        self.dim = dim

    def forward(self, weights: Tensor, mids: Tensor, target: Tensor, iteration: int) -> Tensor:
        """Return the scalar loss; 0 (connected to the graph) before iteration ``start``."""
        epsilon = line_of_sight_epsilon(iteration, self.start, self.end, self.first_epsilon, self.last_epsilon)
        if epsilon is None:
            return weights[:0].sum()
        return self.loss_weight * line_of_sight_loss(weights, mids, target, epsilon, self.dim)


@MODELS.register_module()
class LPIPSLoss(_Weighted):
    """Compute LPIPS (:class:`.image.PerceptualDistance`) of images in [0, 1].

    Args:
        weights: file of the network's weights; it is read when the loss is built.

    Raises:
        InputError: no such file; the message says how to get it or to do without.
    """

    compares = 'image'

    def __init__(self, loss_weight: float = 1.0, weights: str = 'aux_models/lpips_vgg.pth') -> None:
        super().__init__(loss_weight)
        self.distance = PerceptualDistance()
        if loss_weight:
            self.distance.load(weights)

    def forward(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of images ``(N, 3, H, W)``."""
        if not self.loss_weight:
            return 0 * estimate.sum()
        return self.loss_weight * self.distance(estimate, target)


@MODELS.register_module()
class DSSIMLoss(_Weighted):
    """Compute :func:`.image.dssim` of images in [0, 1]; needs no weights file."""

    compares = 'image'

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)

    def forward(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of images ``(N, C, H, W)``."""
        return self.loss_weight * dssim(estimate, target)
