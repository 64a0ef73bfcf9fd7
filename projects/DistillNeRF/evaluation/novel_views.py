"""How near a rendered novel view comes to the true one."""

from __future__ import annotations

from ..geometry.views import Views
from ..models.scene import Rendering
from .depth import depth_errors, distance_to_z, resample_depth
from .image import psnr, ssim


def novel_view_errors(rendering: Rendering, true: Views) -> dict[str, float]:
    """PSNR and SSIM of colours, clamped to [0, 1], and depth errors up to 80 m, over all views together."""
    rgb = rendering.image.clamp(0, 1).cpu()
    z = resample_depth(distance_to_z(rendering.depth.cpu(), true.cameras), *true.true_depth.shape[-2:])
    return {'psnr': psnr(rgb, true.images), 'ssim': ssim(rgb, true.images), **depth_errors(z, true.true_depth)}
