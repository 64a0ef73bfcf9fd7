"""Profile the stages of a training step: time, memory, and work in convolutions and matrix products."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

T = TypeVar('T')
BACKWARD = ' backward'


class StageProfiler:
    """Run stages; subclasses measure what happens between the beginning and the end of one.

    The backward pass of a stage is a stage, too: it begins when the gradients of all its results are there, and ends
    where that of the stage before begins. PyTorch works backwards through the graph in the order in which it was made.
    """

    def __call__(self, stage: str, work: Callable[[], T]) -> T:
        self.begin(stage)
        result = work()
        self.end()
        return _marked(result, lambda: self.switch(stage + BACKWARD))

    def backward(self, loss: Tensor) -> None:
        """Run the backward pass of all stages."""
        self.begin('losses' + BACKWARD)
        loss.backward()
        self.end()

    def switch(self, stage: str) -> None:
        """End one stage and begin another one."""
        self.end()
        self.begin(stage)

    def begin(self, stage: str) -> None:
        """Begin a stage."""

    def end(self) -> None:
        """End the stage that was begun last."""


class Clock(StageProfiler):
    """Seconds and peak memory of every stage, one number per repetition."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, list[float]] = {}
        self.peaks: dict[str, list[int]] = {}
        self._stage = ''
        self._start = 0.0

    def begin(self, stage: str) -> None:
        self._stage = stage
        reset_peak(self.device)
        self._start = now(self.device)

    def end(self) -> None:
        self.seconds.setdefault(self._stage, []).append(now(self.device) - self._start)
        self.peaks.setdefault(self._stage, []).append(peak(self.device))


@dataclass
class Work:
    """Work of convolutions and matrix products: 1e9 floating point operations, and seconds."""

    gflop: float = 0.0
    seconds: float = 0.0


class WorkCounter(StageProfiler):
    """Work of every stage in convolutions and in matrix products."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.work: dict[str, dict[str, Work]] = {}
        self._stage = ''

    def begin(self, stage: str) -> None:
        self._stage = stage

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count everything that runs inside."""
        with _Timed(self):
            yield

    def add(self, kind: str, gflop: float, seconds: float) -> None:
        """Add one operation to the current stage."""
        work = self.work.setdefault(self._stage, {}).setdefault(kind, Work())
        work.gflop += gflop
        work.seconds += seconds


class _Timed(TorchDispatchMode):
    """Times every operation whose floating point operations PyTorch can count."""

    def __init__(self, counter: WorkCounter) -> None:
        super().__init__()
        self.counter = counter

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        count = flop_registry.get(func._overloadpacket)
        kwargs = kwargs or {}
        if count is None:
            return func(*args, **kwargs)
        start = now(self.counter.device)
        result = func(*args, **kwargs)
        seconds = now(self.counter.device) - start
        kind = '3x3 convolution' if 'convolution' in str(func) else 'matrix product'
        self.counter.add(kind, count(*args, **kwargs, out_val=result) / 1e9, seconds)
        return result


def _marked(value: Any, reached: Callable[[], None]) -> Any:
    """Return the value; ``reached`` is called once the gradients of all tensors in it are known."""
    tensors = [tensor for tensor in _tensors(value) if tensor.requires_grad]
    if not tensors:
        return value
    marked = iter(_Mark.apply(reached, *tensors))
    return _replaced(value, marked)


class _Mark(torch.autograd.Function):
    @staticmethod
    def forward(ctx, reached: Callable[[], None], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.reached = reached
        # A result that nobody uses gets no gradient, as without a mark.
        ctx.set_materialize_grads(False)
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        ctx.reached()
        return None, *grads


def _tensors(value: Any) -> list[Tensor]:
    """List all tensors in tuples and dataclasses, in a fixed order."""
    if isinstance(value, Tensor):
        return [value]
    if is_dataclass(value):
        value = tuple(getattr(value, field.name) for field in fields(value))
    return [tensor for part in value for tensor in _tensors(part)] if isinstance(value, tuple) else []


def _replaced(value: Any, new: Iterator[Tensor]) -> Any:
    """Replace every tensor that requires a gradient by the next new one."""
    if isinstance(value, Tensor):
        return next(new) if value.requires_grad else value
    if is_dataclass(value):
        return replace(value, **{field.name: _replaced(getattr(value, field.name), new) for field in fields(value)})
    if isinstance(value, tuple):
        parts = [_replaced(part, new) for part in value]
        return type(value)(*parts) if hasattr(value, '_fields') else tuple(parts)
    return value


def now(device: torch.device) -> float:
    """Return seconds on a clock, after the device has finished its work."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter()


def reset_peak(device: torch.device) -> None:
    """Forget the peak so far."""
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
    else:
        # Linux: makes the peak equal to what is resident now.
        Path('/proc/self/clear_refs').write_text('5')


def peak(device: torch.device) -> int:
    """Return the peak memory since the last reset, bytes: of tensors on a GPU, of the process on a CPU."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('VmHWM')) * 1024


def ceilings(device: torch.device) -> dict[str, float]:
    """Measure 1e9 operations per second in a large matrix product and in a 3x3 convolution."""
    a, b = (torch.rand(2048, 2048, device=device) for _ in range(2))
    images = torch.rand(4, 64, 128, 228, device=device).contiguous(memory_format=torch.channels_last)
    conv = nn.Conv2d(64, 64, 3, padding=1).to(device, memory_format=torch.channels_last)
    with torch.no_grad():
        return {
            'matrix product': _rate(lambda: a @ b, 2 * 2048**3, device),
            '3x3 convolution': _rate(lambda: conv(images), 2 * 9 * 64 * images.numel(), device),
        }


def _rate(work: Callable[[], Tensor], operations: float, device: torch.device, repetitions: int = 7) -> float:
    clock = Clock(device)
    for _ in range(repetitions):
        clock('work', work)
    return operations / min(clock.seconds['work']) / 1e9
