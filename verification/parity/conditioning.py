"""How much rounding changes the numbers of a check: the conditioning from which its bounds follow.

A check runs once as it is and once per seed inside :class:`Rounding`, where the result of every operation that rounds
is multiplied by ``1 + eps * u`` with u uniform in [-1, 1] (of sums 4 times that, of interpolations half
the longer side of the map times), forwards and backwards. That is what other kernels do: other orders of
summation, fused multiply-adds, other approximations of exp, log and tanh. Perturbed inputs and weights alone
would miss what is lost behind them, such as the digits of ``1 - exp(-a)`` on rays that are nearly transparent: one unit
in the last place of exp there is 1e-9 of ``fine_depth`` in float64. A bound is

    min(ceiling, max(4 eps, 16 * change))

with the change measured at the same quantile of the same numbers as the difference from the stored ones. It is computed
when the check runs, so it holds for any folder of vectors and is as sharp on one processor as on another. The factor:
no row used more than a third of its limit, whichever of the kernels below computed it, with one and two threads, and
each wrong step of the tests goes a hundred times beyond one. A ceiling keeps a wrong program that is badly conditioned
from excusing itself. ``share_of_bound`` of ``--json`` tells how much of its limit a row uses.

What differs between the kernels of one machine (an Intel processor with AVX-512; median / 99 % / maximum, relative to
the mean size; variant ``model``, one thread, one library changed at a time):

| setting | float64 fine depth | float32 ``coarse.layer5`` | float32 coarse depth | float32 rendered depth |
| --- | --- | --- | --- | --- |
| two threads | 0 | 2e-6 / 1e-5 / 1e-5 | 2e-7 / 7e-6 / 1e-4 | 0 |
| ``ATEN_CPU_CAPABILITY=avx2`` | 0 | 0 | 0 | 0 |
| ``ATEN_CPU_CAPABILITY=default`` | 3e-16 / 1e-14 / 1e-13 | 0 | 2e-7 / 7e-6 / 4e-5 | 0 / 2e-8 / 2e-7 |
| ``ONEDNN_MAX_CPU_ISA=AVX2`` | 0 | 0 | 0 | 0 |
| ``ONEDNN_MAX_CPU_ISA=SSE41`` | 0 | 5e-4 / 4e-3 / 4e-3 | 9e-6 / 2e-4 / 5e-4 | 0 |
| ``MKL_ENABLE_INSTRUCTIONS=AVX2`` | 1e-14 / 5e-10 / 2e-9 | 2e-4 / 1e-3 / 2e-3 | 5e-6 / 3e-4 / 3e-3 | 0 / 2e-4 / 2e-4 |
| ``MKL_CBWR=COMPATIBLE`` | 2e-14 / 5e-10 / 2e-9 | 3e-4 / 2e-3 / 3e-3 | 7e-6 / 3e-4 / 3e-3 | 0 / 2e-4 / 2e-4 |

So it is MKL: compared one by one, its exp, log, tanh and matrix products (which PyTorch also uses for float64 and 1x1
convolutions) give other bits with AVX2 kernels. With them, fixed bounds (1e-9 in float64, 1e-4 along rays) failed
in the same five rows by the same amounts as on an AMD EPYC, so MKL seems to take such kernels there.
oneDNN's convolutions and ATen's own loops give the same bits with AVX2 as with AVX-512, others with SSE4.1.

In float32 cells of samples change sides in some passes, and an ``exp`` that is exactly one is moved, too, though no
processor does that, so the tails are wide: those rows are judged at their median, 90 % and 99 %, not by the maximum.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from verification.parity.comparison import Report

T = TypeVar('T')

SEEDS = (1, 2)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Correctly rounded on every processor, but fused by compilers and ordered otherwise by other programs.
ARITHMETIC = _names('mul mul_ add add_ sub sub_ div div_ rsub addcmul pow reciprocal sqrt')
# Approximated.
FUNCTIONS = _names("""exp exp_ tanh sigmoid softplus log log10 gelu sin cos rsqrt tanh_backward sigmoid_backward
    binary_cross_entropy binary_cross_entropy_backward binary_cross_entropy_with_logits""")
# Summed in an order that depends on vectors, blocks and threads.
SUMS = _names("""convolution convolution_backward mm bmm addmm baddbmm sum mean cumsum cumprod index_add
    linalg_vector_norm linalg_inv_ex linalg_lstsq native_layer_norm native_layer_norm_backward native_group_norm
    native_group_norm_backward
    _embedding_bag _embedding_bag_forward_only _embedding_bag_per_sample_weights_backward embedding_dense_backward
    unfold_backward mse_loss mse_loss_backward _scaled_dot_product_flash_attention_for_cpu
    _scaled_dot_product_flash_attention _scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention""")
# Coordinates are as large as the map, so their rounding moves what is read by as many units.
RESAMPLINGS = _names("""upsample_bilinear2d upsample_bilinear2d_backward upsample_bicubic2d _upsample_bicubic2d_aa
    grid_sampler_2d""")
# Units in the last place; a sum of hundreds of terms is off by more than a single operation.
SUM_UNITS = 4.0

# Random numbers are made once and read from a random place: as long as the table, results repeat their pattern.
TABLE = 65521


class Rounding(TorchDispatchMode):
    """Inside, every operation that rounds does so a little differently. Reproducible: one seed, one sequence."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = np.random.default_rng(seed)
        self._noise = torch.from_numpy(self._random.uniform(-1, 1, 2 * TABLE))
        self._tables: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        results = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ARITHMETIC or name in FUNCTIONS or name in SUMS or name in RESAMPLINGS:
            for x in results if isinstance(results, (tuple, list)) else (results,):
                if isinstance(x, Tensor) and x.dtype in (torch.float32, torch.float64) and x.numel():
                    self._perturb(x, _units(name, x))
        return results

    def _perturb(self, x: Tensor, units: float) -> None:
        start = int(self._random.integers(TABLE))
        table = 1 + units * self._table(x)[start : start + min(TABLE, x.numel())]
        if not torch.ops.aten.is_non_overlapping_and_dense(x):
            x.mul_(table[torch.arange(x.numel(), device=x.device) % TABLE].view(x.shape))
            return
        flat = x.as_strided((x.numel(),), (1,), x.storage_offset())
        whole = x.numel() // TABLE * TABLE
        if whole:
            flat[:whole].view(-1, TABLE).mul_(table)
        flat[whole:].mul_(table[: x.numel() - whole])

    def _table(self, like: Tensor) -> Tensor:
        """Return the random numbers in units in the last place, made once per dtype and device."""
        key = like.dtype, like.device
        if key not in self._tables:
            self._tables[key] = (self._noise.to(like.dtype) * torch.finfo(like.dtype).eps).to(like.device)
        return self._tables[key]


def exact() -> AbstractContextManager:
    """Perturb nothing inside: +, *, / and floor give the cells of stored points on every processor."""
    return _disable_current_modes()


def _units(name: str, x: Tensor) -> float:
    if name in RESAMPLINGS:
        return max(x.shape[-2:]) / 2
    return SUM_UNITS if name in SUMS else 1.0


def measured(check: Callable[[Report], T], report: Report, seeds: tuple[int, ...] = SEEDS) -> T:
    """Run ``check``, give its rows the bounds of their conditioning, and return its result.

    Args:
        check: adds its comparisons to the report that it is given, every time the same ones.
    """
    plain = Report(heading=report.heading)
    result = check(plain)
    for seed in seeds:
        perturbed = Report(heading=report.heading)
        with Rounding(seed):
            check(perturbed)
        plain.add_changes(perturbed)
    report.comparisons += plain.comparisons
    return result
