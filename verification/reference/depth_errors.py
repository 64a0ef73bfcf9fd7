"""Errors of depth by whole tensors: what the compiled loop of the evaluation must give."""

from __future__ import annotations

import torch
from torch import Tensor


def plain_depth_errors(estimate: Tensor, target: Tensor, limit: float) -> Tensor:
    """Return abs_rel, sq_rel, rmse, rmse_log, a1, a2, a3 ``(7,)`` over targets between 1e-3 and ``limit``.

    Args:
        estimate, target: meters, of one shape and of the dtype that is computed in.
        limit: meters.
    """
    counts = (target > 1e-3) & (target < limit)
    e, t = estimate[counts].clamp(1e-3, limit), target[counts]
    difference, ratio = e - t, torch.maximum(e / t, t / e)
    errors = [
        (difference.abs() / t).mean(),
        (difference**2 / t).mean(),
        (difference**2).mean().sqrt(),
        ((e.log() - t.log()) ** 2).mean().sqrt(),
        *((ratio < 1.25**power).to(e.dtype).mean() for power in (1, 2, 3)),
    ]
    return torch.stack(errors)
