"""A device without a device: tensors that lie in main memory and say that they do not.

Like those of a GPU they cannot be mixed with tensors of the CPU and have no ``numpy()``. What is computed is real, so
that results can be compared. It takes the name ``meta``, which every build of torch knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

NAME = 'meta'
# These take tensors of both kinds, as on a GPU.
MIXED = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default, torch.ops.aten.index.Tensor}


class Elsewhere(Tensor):
    """A tensor that says that it is not on the CPU.

    Attributes:
        here: what it holds.
    """

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> Elsewhere:
        made = Tensor._make_wrapper_subclass(
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=NAME,
        )
        made.here = here
        return made

    def tolist(self) -> Any:
        """Fetch the numbers; torch does not do that for other classes."""
        return self.here.tolist()

    def new_tensor(self, data: Any, dtype: torch.dtype | None = None) -> Tensor:
        """Make a tensor of numbers beside this one; torch would lose them."""
        return Elsewhere(self.here.new_tensor(data, dtype=dtype))

    def __getitem__(self, index: Any) -> Tensor:
        """Select; torch would lose the numbers of a list."""
        return super().__getitem__(torch.tensor(index) if isinstance(index, list) else index)

    @classmethod
    def __torch_dispatch__(cls, func: Callable, types: Any, args: Sequence = (), kwargs: Mapping | None = None) -> Any:
        return _compute(func, args, kwargs or {})


class PretendDevice(TorchDispatchMode):
    """Inside, ``tensor.to('meta')`` and ``device='meta'`` make such tensors."""

    def __torch_dispatch__(self, func: Callable, types: Any, args: Sequence = (), kwargs: Mapping | None = None) -> Any:
        return _compute(func, args, kwargs or {})


def _compute(func: Callable, args: Sequence, kwargs: Mapping[str, Any]) -> Any:
    """Compute on the CPU what an operation asks for; refuse what a GPU would."""
    tensors = [x for x in tree_leaves((args, dict(kwargs))) if isinstance(x, Tensor)]
    elsewhere = any(isinstance(x, Elsewhere) for x in tensors)
    assert not any(x.is_meta and not isinstance(x, Elsewhere) for x in tensors), f'{func}: what torch made is lost'
    # A number is taken from anywhere.
    if elsewhere and func not in MIXED and any(not isinstance(x, Elsewhere) and x.dim() for x in tensors):
        raise RuntimeError(f'{func}: expected all tensors to be on the same device')
    if func is torch.ops.aten.index.Tensor and not isinstance(args[0], Elsewhere) and elsewhere:
        raise RuntimeError(f'{func}: indices should be on the CPU, as the indexed tensor is')
    wanted = kwargs.get('device')
    if wanted is not None:
        elsewhere = torch.device(wanted).type == NAME
        kwargs = {**kwargs, 'device': torch.device('cpu')}
    elif func is torch.ops.aten.copy_.default:
        elsewhere = isinstance(args[0], Elsewhere)
    inner_args, inner_kwargs = tree_map(
        lambda x: x.here if isinstance(x, Elsewhere) else x, (tuple(args), dict(kwargs))
    )
    result = func(*inner_args, **inner_kwargs)
    if not elsewhere:
        return result
    result = tree_map(lambda x: Elsewhere(x) if isinstance(x, Tensor) else x, result)
    return return_and_correct_aliasing(func, tuple(args), dict(kwargs), result)
