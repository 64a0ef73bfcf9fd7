"""mmengine's optimizer wrappers, which here skip a step whose gradient is NaN or infinite."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmdet3d.registry import OPTIM_WRAPPERS
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import Tensor, nn

# mmengine's wrapper -> ours that takes its place.
OURS = {'OptimWrapper': 'SkippingOptimWrapper', 'AmpOptimWrapper': 'SkippingAmpOptimWrapper'}
# So many skipped steps in a row are a warning; a scaled loss finds its scale in fewer.
MANY = 25


def skipping(config: Any) -> Any:
    """Return the config of an optimizer wrapper with our class in the place of mmengine's."""
    kind = config.get('type', 'OptimWrapper')
    changed = config.copy()
    changed['type'] = OURS.get(kind, kind)
    return changed


class _Skipping(OptimWrapper):
    """Count skipped steps.

    The log has their number, ``skipped_steps``, from the first one on. With several processes all skip the same steps,
    as their gradients are the same. The norm is fetched from the device once, for the log and for the decision.

    Attributes:
        skipped: how many steps this process skipped.
    """

    skipped = 0
    _in_a_row = 0

    def _finite_gradient(self) -> bool:
        """Clip the gradients as configured; return whether they are finite."""
        parameters = [p for group in self.optimizer.param_groups for p in group['params'] if p.grad is not None]
        if not parameters:
            return True
        if self.clip_grad_kwargs and self.grad_name == 'grad_norm':
            norm = float(self.clip_func(parameters, **self.clip_grad_kwargs))
            self.message_hub.update_scalar(f'train/{self.grad_name}', norm)
            return self._counted(math.isfinite(norm))
        finite = _all_finite([p.grad for p in parameters if p.grad.numel()])
        if self.clip_grad_kwargs:
            self.clip_func(parameters, **self.clip_grad_kwargs)
        return self._counted(finite)

    def _counted(self, finite: bool) -> bool:
        """Count a step that is skipped; return ``finite``."""
        self._in_a_row = 0 if finite else self._in_a_row + 1
        self.skipped += not finite
        if self.skipped:
            self.message_hub.update_scalar('train/skipped_steps', self.skipped)
        if self._in_a_row == MANY:
            print_log(
                f'{MANY} steps in a row were skipped: the gradient is NaN or infinite; lower optim_wrapper.optimizer.lr'
                ', or train with --precision bf16 or fp32',
                logger='current',
                level=logging.WARNING,
            )
        return finite

    def step(self, **kwargs: Any) -> None:
        """Clip the gradients as configured, and update the parameters if all gradients are finite."""
        if self._finite_gradient():
            self.optimizer.step(**kwargs)


def _all_finite(gradients: Sequence[Tensor]) -> bool:
    """Tell whether all elements are finite, by the smallest and the largest: these are NaN where one element is.

    Of large tensors a norm takes four times as long, and a sum may overflow. It is fetched from the device once.
    """
    extremes = [extreme.isfinite() for gradient in gradients for extreme in gradient.aminmax()]
    return not extremes or bool(torch.stack([extreme.to(extremes[0].device) for extreme in extremes]).all())


@OPTIM_WRAPPERS.register_module()
class SkippingOptimWrapper(_Skipping):
    """Do as ``OptimWrapper``, but skip steps whose gradient is NaN or infinite."""


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(_Skipping):
    """Run the network under bfloat16 autocast on the device of its weights; bfloat16 needs no loss scaling.

    Steps whose gradient is NaN or infinite are skipped.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass under autocast."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield


@OPTIM_WRAPPERS.register_module()
class SkippingAmpOptimWrapper(_Skipping, AmpOptimWrapper):
    """Do as ``AmpOptimWrapper``, which skips such steps by itself, but count them, and wait less for the device."""

    def step(self, **kwargs: Any) -> None:
        """Unscale the gradients, update the parameters if they are finite, and adapt the scale."""
        self.loss_scaler.unscale_(self.optimizer)
        super().step(**kwargs)
        self.loss_scaler.update(self._scale_update_param)
