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
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

T = TypeVar('T')
BACKWARD = ' backward'
UNITS = {'copy': 'GB/s', 'matrix product': 'GFLOP/s', '3x3 convolution': 'GFLOP/s'}


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
    """Seconds and peak memory of every stage, one number per repetition.

    On a GPU the times are those between events in its queue: no stage waits for the one before.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.peaks: dict[str, list[int]] = {}
        self._marks: dict[str, list[tuple[Any, Any]]] = {}
        self._stage = ''
        self._start: Any = None

    @property
    def seconds(self) -> dict[str, list[float]]:
        """Return the seconds of every stage."""
        return {stage: [self._between(*marks) for marks in pairs] for stage, pairs in self._marks.items()}

    def begin(self, stage: str) -> None:
        self._stage = stage
        reset_peak(self.device)
        self._start = self._mark()

    def end(self) -> None:
        self._marks.setdefault(self._stage, []).append((self._start, self._mark()))
        self.peaks.setdefault(self._stage, []).append(peak(self.device))

    def _mark(self) -> Any:
        if self.device.type != 'cuda':
            return now(self.device)
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between(self, start: Any, stop: Any) -> float:
        if self.device.type != 'cuda':
            return stop - start
        stop.synchronize()
        return start.elapsed_time(stop) / 1e3


@dataclass
class Work:
    """Work of convolutions and matrix products: 1e9 floating point operations, and seconds."""

    gflop: float = 0.0
    seconds: float = 0.0


class WorkCounter(StageProfiler):
    """Work of every stage in convolutions and in matrix products, and the bytes that it has to move.

    Attributes:
        work: stage -> kind of operation -> work.
        moved: stage -> bytes of what it reads that was there before, and of what it makes that is there after it:
            each once, as if all between stayed in registers.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.work: dict[str, dict[str, Work]] = {}
        self.moved: dict[str, int] = {}
        self._stage = ''
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}
        self._read: dict[int, tuple[StorageWeakRef, int]] = {}

    def begin(self, stage: str) -> None:
        self._stage = stage
        self._made, self._read = {}, {}

    def end(self) -> None:
        left = sum(size for storage, size in self._made.values() if not storage.expired())
        read = sum(size for _, size in self._read.values())
        self.moved[self._stage] = self.moved.get(self._stage, 0) + left + read

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

    def touch(self, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        """Remember what an operation reads and makes; writing into what was there before counts as reading it."""
        for tensor in inputs:
            storage = StorageWeakRef(tensor.untyped_storage())
            if storage.cdata not in self._made:
                # Of a large table the largest view that was asked for.
                size = min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
                _, before = self._read.get(storage.cdata, (storage, 0))
                self._read[storage.cdata] = (storage, max(before, size))
        for tensor in outputs:
            storage = StorageWeakRef(tensor.untyped_storage())
            if storage.cdata not in self._read:
                self._made[storage.cdata] = (storage, tensor.untyped_storage().nbytes())


class _Timed(TorchDispatchMode):
    """Times every operation whose floating point operations PyTorch can count."""

    def __init__(self, counter: WorkCounter) -> None:
        super().__init__()
        self.counter = counter

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        count = flop_registry.get(func._overloadpacket)
        kwargs = kwargs or {}
        start = 0.0 if count is None else now(self.counter.device)
        result = func(*args, **kwargs)
        if count is not None:
            seconds = now(self.counter.device) - start
            kind = '3x3 convolution' if 'convolution' in str(func) else 'matrix product'
            self.counter.add(kind, count(*args, **kwargs, out_val=result) / 1e9, seconds)
        if not func.is_view:
            trees = ((args, kwargs), result)
            self.counter.touch(*([x for x in tree_leaves(tree) if isinstance(x, Tensor)] for tree in trees))
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
    """Measure a large matrix product, a 3x3 convolution and a copy (it reads, too), in the units of :data:`UNITS`."""
    a, b = (torch.rand(2048, 2048, device=device) for _ in range(2))
    images = torch.rand(4, 64, 128, 228, device=device).contiguous(memory_format=torch.channels_last)
    conv = nn.Conv2d(64, 64, 3, padding=1).to(device, memory_format=torch.channels_last)
    source, target = (torch.zeros(1 << 26, device=device) for _ in range(2))  # far more than a cache
    with torch.no_grad():
        return {
            'matrix product': _rate(lambda: a @ b, 2 * 2048**3, device),
            '3x3 convolution': _rate(lambda: conv(images), 2 * 9 * 64 * images.numel(), device),
            'copy': _rate(lambda: target.copy_(source), 2 * 4 * source.numel(), device),
        }


def _rate(work: Callable[[], Tensor], operations: float, device: torch.device, repetitions: int = 7) -> float:
    clock = Clock(device)
    for _ in range(repetitions):
        clock('work', work)
    return operations / min(clock.seconds['work']) / 1e9


def rates_text(limits: dict[str, float]) -> str:
    """Return the ceilings as a text."""
    return ', '.join(f'{name} {rate:.0f} {UNITS[name]}' for name, rate in limits.items())
