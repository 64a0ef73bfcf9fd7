"""Count what a GPU's host does in a step: kernel launches, and the operations that wait for the device."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import Self

aten = torch.ops.aten

# These fetch numbers from the device, most of them to know the size of their result.
FETCHES = {
    aten._local_scalar_dense: 'item',
    aten.nonzero: 'nonzero',
    aten.masked_select: 'masked_select',
    aten.bincount: 'bincount',
    aten._unique2: 'unique',
    aten.unique_dim: 'unique',
    aten.unique_consecutive: 'unique',
    aten.equal: 'equal',
    aten._linalg_check_errors: 'check of a matrix inverse',
    aten.is_nonzero: 'item',
}
# Indexing by a mask finds its true elements first.
MASKED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
# These make no kernel: they allocate, or look at memory in another way.
FREE = {
    getattr(aten, name)
    for name in (
        *('empty', 'empty_like', 'empty_strided', 'new_empty', 'new_empty_strided', 'detach', 'alias', 'view'),
        *('_unsafe_view', '_reshape_alias', 'as_strided', 'expand', 'permute', 'transpose', 't', 'slice', 'select'),
        *('unsqueeze', 'squeeze', 'split', 'split_with_sizes', 'unbind', 'unfold', 'diagonal', 'view_as_real'),
        *(
            'lift_fresh',
            'set_',
            'resize_',
            '_local_scalar_dense',
            'sym_size',
            'is_same_size',
            'unsafe_split',
            'scalar_tensor',
        ),
    )
    if hasattr(aten, name)
}


class _Fetches(TorchFunctionMode):
    """Counts what takes all numbers of a tensor to the host without an operation of its own, on CPUs."""

    NAMES = {torch.Tensor.tolist: 'tolist', torch.Tensor.numpy: 'numpy'}

    def __init__(self, synchronizations: Counter[str]) -> None:
        super().__init__()
        self.synchronizations = synchronizations

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in self.NAMES:
            self.synchronizations[self.NAMES[func]] += 1
        return func(*args, **(kwargs or {}))


class HostCosts(TorchDispatchMode):
    """Count launches and synchronizations of what runs inside, on any device.

    An operation counts as one launch, so that sorts and reductions, which have several, count too little.

    Attributes:
        launches: name of an operation -> how often it ran.
        synchronizations: why the host waited -> how often.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launches: Counter[str] = Counter()
        self.synchronizations: Counter[str] = Counter()
        self._fetches = _Fetches(self.synchronizations)

    def __enter__(self) -> Self:
        self._fetches.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._fetches.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        packet = func._overloadpacket
        if reason := self._reason(packet, args, kwargs or {}):
            self.synchronizations[reason] += 1
        if packet not in FREE:
            self.launches[packet.__name__] += 1
        return func(*args, **(kwargs or {}))

    @staticmethod
    def _reason(packet: Any, args: tuple, kwargs: dict) -> str:
        if packet in FETCHES:
            return FETCHES[packet]
        if packet in MASKED and any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1]):
            return 'index by a mask'
        if packet is aten.repeat_interleave and kwargs.get('output_size') is None:
            return 'repeat_interleave without output_size'
        if packet is aten.lift_fresh:
            return 'tensor made on the host'
        if packet is aten._to_copy and _crosses(args[0], kwargs):
            return 'copy between devices'
        return ''


def _crosses(x: Tensor, kwargs: dict) -> bool:
    device = kwargs.get('device')
    return device is not None and device.type != x.device.type and not kwargs.get('non_blocking')
