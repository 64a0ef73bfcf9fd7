"""The choice between a fused Triton kernel and the plain torch code that it replaces.

``network.kernels`` of a config is one of :data:`CHOICES`:

* ``'auto'``: a Triton kernel computes if its tensors are on CUDA, if triton can be imported, and if the kernel has
  agreed with torch on a small random input, values and gradients, at its first use in this process. Otherwise torch
  computes, as it does under ``torch.compile``. A line in the log says so once; nothing that a kernel does wrong ends
  a run.
* ``'torch'``: torch always computes; triton is never imported.
* ``'triton'``: the kernel always computes; it is an :class:`InputError` if that is impossible. In Triton's interpreter
  (``TRITON_INTERPRET=1`` before the start of the process) it also works on CPU tensors: so it is tested.

How a module uses it. The kernel's file (``kernels/double.py`` here) imports triton at its top, so nothing may import
it except :class:`Kernel`. The file that has the torch code declares the kernel beside it::

    def _compare(module: ModuleType, device: torch.device, dtype: torch.dtype, width: int) -> list[Comparison]:
        x = torch.randn(100, width, generator=torch.Generator().manual_seed(0)).to(device, dtype).requires_grad_()
        exact = x.detach().double().requires_grad_()
        return compared(module.double(x), x, plain_double(exact), exact)

    DOUBLE = Kernel('doubling', 'double', _compare)

    class Doubling(nn.Module):
        kernels = 'auto'  # set_kernels(network, choice) sets it in all modules that have it

        def forward(self, x: Tensor) -> Tensor:
            kernel = DOUBLE.choose(self.kernels, x, x.shape[1])
            return plain_double(x) if kernel is None else kernel.double(x)

``choose`` returns the imported file or ``None``; it is a dictionary look-up after the first use. The arguments after
``x``, numbers or strings for which the kernel is compiled anew (numbers of channels, not of rows), are handed to
``_compare``: each combination of them, of dtype, of device and of the TF32 setting is compared once.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ..utils.errors import InputError, note, warn

CHOICES = ('auto', 'torch', 'triton')
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# Largest error over the largest value: for float32 rounding alone, for the others eight times their own.
TOLERANCES = {torch.float32: 1e-4, torch.float16: 8 * 2**-11, torch.bfloat16: 8 * 2**-8}
TF32_TOLERANCE = 8 * 2**-11


@dataclass(frozen=True)
class Comparison:
    """What a kernel computed (a value or a gradient), and what torch computed, best in float64."""

    what: str
    result: Tensor
    expected: Tensor

    @property
    def error(self) -> float:
        """Return the largest error over the largest expected value."""
        if self.result.shape != self.expected.shape:
            return float('inf')
        if not self.expected.numel():
            return 0.0
        expected = self.expected.detach().double()
        error = (self.result.detach().double() - expected).abs().max()
        return float(error / expected.abs().max().clamp_min(1e-12))


def compared(
    result: Tensor, leaves: Sequence[Tensor] | Tensor, expected: Tensor, exact_leaves: Sequence[Tensor] | Tensor
) -> list[Comparison]:
    """Compare a kernel's value and its gradients to ``leaves`` with those of torch, for a random gradient."""
    leaves = [leaves] if isinstance(leaves, Tensor) else leaves
    exact_leaves = [exact_leaves] if isinstance(exact_leaves, Tensor) else exact_leaves
    grad = torch.randn(result.shape, generator=torch.Generator().manual_seed(1)).to(result)
    grads = torch.autograd.grad(result, leaves, grad)
    exact_grads = torch.autograd.grad(expected, exact_leaves, grad.to(expected))
    pairs = zip(grads, exact_grads, strict=True)
    gradients = [Comparison(f'gradient {index}', *pair) for index, pair in enumerate(pairs)]
    return [Comparison('value', result, expected), *gradients]


# Called with the kernel's file, a device, a dtype and the further arguments of :meth:`Kernel.choose`.
Compare = Callable[..., Sequence[Comparison]]


class Kernel:
    """A Triton kernel that may replace torch code.

    Args:
        title: what it computes, for the log.
        file: name of the module in this package that has it.
        compare: runs it and the torch code on a small random input.
        dtypes: dtypes of tensors that it takes.
    """

    def __init__(self, title: str, file: str, compare: Compare, dtypes: Sequence[torch.dtype] = DTYPES) -> None:
        self.title = title
        self.file = file
        self.compare = compare
        self.dtypes = dtypes
        self._agreed: dict[tuple, bool] = {}
        self._said: set[tuple] = set()

    def choose(self, kernels: str, x: Tensor, *variant: Any) -> ModuleType | None:
        """Return the kernel's file if it shall compute with tensors like ``x``, and ``None`` if torch shall.

        Args:
            kernels: one of :data:`CHOICES`.
            x: a tensor whose device and dtype count.
            variant: numbers or strings for which the kernel is compiled anew.

        Raises:
            InputError: ``kernels='triton'`` cannot be done.
        """
        if kernels == 'triton':
            return self._forced(x)
        if kernels == 'torch' or x.device.type != 'cuda' or x.dtype not in self.dtypes:
            return None
        if torch.compiler.is_compiling():
            return None  # the compiler makes kernels of its own
        key = (x.device, x.dtype, uses_tf32(x), *variant)
        if key not in self._agreed:
            self._agreed[key] = self._agrees(x.device, x.dtype, variant)
        return self._load() if self._agreed[key] else None

    def _load(self) -> ModuleType:
        return importlib.import_module(f'{__package__}.{self.file}')

    def _forced(self, x: Tensor) -> ModuleType:
        problem = ''
        if x.dtype not in self.dtypes:
            problem = f'does not work with {x.dtype}'
        elif x.device.type != 'cuda' and not (x.device.type == 'cpu' and interpreted()):
            problem = f'needs CUDA, and the tensors are on {x.device.type}'
        else:
            try:
                return self._load()
            except ImportError as error:
                problem = f'needs triton, which cannot be imported ({error})'
        raise InputError(
            f"network.kernels='triton': the kernel of the {self.title} {problem}; "
            "network.kernels='auto' uses torch where it must"
        )

    def _agrees(self, device: torch.device, dtype: torch.dtype, variant: tuple) -> bool:
        """Compare the kernel with torch, and say in the log what came of it."""
        tolerance = TF32_TOLERANCE if dtype == torch.float32 and allows_tf32() else TOLERANCES[dtype]
        try:
            with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
                comparisons = self.compare(self._load(), device, dtype, *variant)
                errors = {comparison.what: comparison.error for comparison in comparisons}
        except Exception as error:  # whatever a compiler or a driver says
            reason = f'{type(error).__name__}: {str(error)[:300]}'
            self._say(warn, dtype, f'torch computes the {self.title} ({dtype}): its Triton kernel failed: {reason}')
            return False
        wrong = [f'{what} by {error:.1e}' for what, error in errors.items() if not error <= tolerance]
        if wrong:
            self._say(
                warn,
                dtype,
                f'torch computes the {self.title} ({dtype}): its Triton kernel differs from torch by more than '
                f'{tolerance:.1e} of the largest value, for {variant}: {", ".join(wrong)}',
            )
            return False
        self._say(
            note,
            dtype,
            f'a Triton kernel computes the {self.title} ({dtype}): on a small random input it agrees with torch, '
            f'largest error {max(errors.values(), default=0.0):.1e} of the largest value',
        )
        return True

    def _say(self, how: Callable[[str], None], dtype: torch.dtype, message: str) -> None:
        """Say it once per process, dtype and kind."""
        if (how, dtype) not in self._said:
            self._said.add((how, dtype))
            how(message)


def interpreted() -> bool:
    """Return whether Triton's kernels run in its interpreter."""
    return os.environ.get('TRITON_INTERPRET', '0').lower() in ('1', 'true', 'yes', 'on', 'y')


def allows_tf32() -> bool:
    """Return whether float32 products on CUDA may round their factors to TF32, as ``torch.matmul`` does."""
    matmul = torch.backends.cuda.matmul
    precision = getattr(matmul, 'fp32_precision', None)  # absent before torch 2.9
    return matmul.allow_tf32 if precision is None else precision == 'tf32'


def uses_tf32(x: Tensor) -> bool:
    """Return whether products of tensors like ``x`` are rounded to TF32."""
    return x.dtype == torch.float32 and x.device.type == 'cuda' and allows_tf32()


def set_kernels(network: nn.Module, kernels: str) -> None:
    """Set the choice in all modules that have an attribute ``kernels``.

    Raises:
        InputError: no such choice.
    """
    if kernels not in CHOICES:
        raise InputError(f'network.kernels={kernels!r}: no such choice; choose one of {", ".join(map(repr, CHOICES))}')
    for module in network.modules():
        if hasattr(module, 'kernels'):
            module.kernels = kernels  # type: ignore[assignment]  # a str, unknown to nn.Module
