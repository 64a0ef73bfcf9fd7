"""What a GPU is for, checked and measured in one go: bash tests/gpu.sh [--device cpu] [--out FOLDER]

Runs the tests of kernels and the parity check on the device, compares the Triton kernels with torch, and measures
training steps and reconstructions of published configurations on random images of published size. Writes gpu.json
and gpu.md. On a CPU all of it runs with small images, to see that it works.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.multiprocessing
from torch import Tensor, nn
from torch.distributed import destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile

from projects.DistillNeRF.kernels.selection import set_kernels
from projects.DistillNeRF.models.wrapper import Batch, DistillNeRFModel
from projects.DistillNeRF.utils.errors import InputError, command
from projects.DistillNeRF.utils.files import save_json
from projects.DistillNeRF.utils.provenance import commit
from verification.benchmark.launches import HostCosts
from verification.benchmark.profiler import ceilings, now, peak, rates_text, reset_peak
from verification.benchmark.training import Size, published_model, random_batch, to_device

ROOT = Path(__file__).parents[2]
VARIANTS = ('model', 'model_linearspace', 'model_foundation_feature', 'model_400_224')
SMALL = Size((32, 56), inputs=1, targets=2)
# Name -> dtype of autocast.
PRECISIONS = {'fp32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}
GIBI = 1 << 30


@dataclass
class Figures:
    """What was measured of a configuration in one precision: medians of ten, milliseconds and GiB."""

    variant: str
    kernels: str
    precision: str
    step_ms: float
    step_gib: float
    inference_ms: float
    inference_gib: float
    loss: float


@dataclass
class Check:
    """A program that was run, its exit code and its last line."""

    name: str
    code: int
    seconds: float
    last_line: str


def run_program(name: str, out: Path, *arguments: str, timeout: int = 240) -> Check:
    """Run Python with arguments; what it prints goes to ``NAME.log`` of the folder, its end to the terminal, too."""
    print(f'\n# {name}', flush=True)
    start = time.perf_counter()
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])}
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            text=True,
            timeout=timeout,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        code, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        printed = error.stdout or b''
        code, output = 124, f'{printed.decode(errors="replace")}\ntook longer than {timeout} s'
    (out / f'{name.replace(" ", "_")}.log').write_text(output)
    lines = output.strip().splitlines() or ['']
    print('\n'.join(lines[-30:]), flush=True)
    return Check(name, code, time.perf_counter() - start, lines[-1])


def checks(device: str, out: Path) -> list[Check]:
    """Run the suite's tests of kernels, the parity check and the comparison of Triton kernels on the device."""
    from tests.helpers.devices import KERNELS, OTHERS

    on_cpu = torch.device(device).type == 'cpu'
    workers = [] if on_cpu else ['-n', str(min(12, os.cpu_count() or 1))]
    few = ('tests/modules/test_heads.py', 'tests/modules/test_voxels.py')
    tests = few if on_cpu else (*KERNELS, *OTHERS)
    on_device = ('--device', device)
    done = [
        run_program('tests', out, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', *workers, '--device', device, *tests),
        run_program(
            'parity', out, 'tools/check_parity.py', 'tests/data/parity', '--device', device, '--variant', 'model'
        ),
    ]
    if not on_cpu:
        fused = 'verification.benchmark.fused_kernels'
        done.append(run_program('Triton kernels', out, '-m', fused, *on_device))
    return done


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Return the autocast of a precision."""
    dtype = PRECISIONS[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def training_step(
    model: DistillNeRFModel, batch: Batch, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, name: str
) -> Tensor:
    """Do a training step in the precision of that name; returns the loss."""
    optimizer.zero_grad(set_to_none=True)
    with autocast(next(model.parameters()).device, name):
        loss, _ = model.parse_losses(model(batch, mode='loss'))
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), 35.0)
    scaler.step(optimizer)
    scaler.update()
    return loss.detach()


def median_ms(work: Callable[[], object], device: torch.device, repetitions: int, warm_up: int = 2) -> float:
    """Return the median time of some work, milliseconds; GPUs finish it before the clock is read."""
    times = []
    for index in range(warm_up + repetitions):
        start = now(device)
        work()
        if index >= warm_up:
            times.append(now(device) - start)
    return 1e3 * statistics.median(times)


def measure(variant: str, kernels: str, device: torch.device, repetitions: int) -> list[Figures]:
    """Measure training steps and reconstructions of a configuration in all precisions that the device has."""
    model = published_model(variant).to(device)
    set_kernels(model, kernels)
    size = SMALL if device.type == 'cpu' else Size()
    batch = to_device(random_batch(model.network, variant, size), device)
    views = batch['input_views'][0]
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4, betas=(0.0, 0.99))
    start = {name: value.clone() for name, value in model.state_dict().items()}
    figures = []

    @torch.no_grad()
    def reconstruct(precision: str) -> None:
        with autocast(device, precision):
            model.network(views).render(views.cameras)

    for precision in PRECISIONS:
        if device.type == 'cpu' and precision != 'fp32':
            continue
        model.eval()
        reset_peak(device)
        inference = median_ms(lambda precision=precision: reconstruct(precision), device, repetitions)
        inference_peak = peak(device)
        model.train()
        model.load_state_dict(start)
        scaler = torch.amp.GradScaler(device.type, enabled=precision == 'fp16')
        reset_peak(device)

        def step(precision: str = precision, scaler: torch.amp.GradScaler = scaler) -> Tensor:
            return training_step(model, batch, optimizer, scaler, precision)

        time_of_step = median_ms(step, device, repetitions)
        step_peak = peak(device)
        row = Figures(
            variant,
            kernels,
            precision,
            time_of_step,
            step_peak / GIBI,
            inference,
            inference_peak / GIBI,
            float(step()),
        )
        print(row, flush=True)
        figures.append(row)
    return figures


def host_costs(device: torch.device) -> dict[str, dict[str, int]]:
    """Count launches and synchronizations of a published step without its optimizer.

    Returns:
        ``torch``: operations that torch dispatches, with plain torch kernels, as the test of the budgets counts them.
        ``torch on the GPU`` and ``auto on the GPU``: what CUPTI saw in a step with those kernels.
    """
    model = published_model('model').to(device).train()
    batch = to_device(random_batch(model.network, 'model', SMALL if device.type == 'cpu' else Size()), device)

    def step(kernels: str) -> None:
        set_kernels(model, kernels)
        model.zero_grad(set_to_none=True)
        model.parse_losses(model(batch, mode='loss'))[0].backward()

    step('torch')
    with HostCosts() as costs:
        step('torch')
    found = {'torch': {'launches': costs.launches.total(), 'synchronizations': costs.synchronizations.total()}}
    if device.type == 'cuda':
        found |= {f'{kernels} on the GPU': _runtime_calls(lambda k=kernels: step(k)) for kernels in ('torch', 'auto')}
    return found


def _runtime_calls(step: Callable[[], None]) -> dict[str, int]:
    """Count calls of the CUDA runtime that launch kernels, and those that wait for the device."""
    step()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        step()
    calls = {event.key: event.count for event in profiled.key_averages()}
    return {
        'launches': sum(count for name, count in calls.items() if 'LaunchKernel' in name),
        'synchronizations': sum(count for name, count in calls.items() if name.startswith('cudaStreamSynchronize')),
    }


def _rank(rank: int, device: str, file: str) -> None:
    """Train one step on samples of its own, and compare the gradients with those of the other process."""
    init_process_group('gloo', init_method=f'file://{file}', rank=rank, world_size=2)
    model = published_model('model').to(device).train()
    batch = to_device(random_batch(model.network, 'model', SMALL), torch.device(device))
    if rank:
        batch = {name: [views[:1] for views in samples] for name, samples in batch.items()}
    parallel = DistributedDataParallel(model, find_unused_parameters=True)
    losses = parallel(batch, mode='loss')
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    own = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).cpu()
    both = [torch.empty_like(own) for _ in range(2)]
    torch.distributed.all_gather(both, own)
    assert torch.equal(*both), 'gradients differ between the processes'
    assert own.isfinite().all()
    destroy_process_group()


def two_ranks(device: str, folder: Path) -> Check:
    """Train one step in two processes on one device, with gloo."""
    print('\n# two processes', flush=True)
    start = time.perf_counter()
    file = folder / 'rendezvous'
    file.unlink(missing_ok=True)
    try:
        torch.multiprocessing.spawn(_rank, (device, str(file)), nprocs=2)
        code, line = 0, 'gradients are equal'
    except Exception as error:  # whatever fails in a process is reported
        code, line = 1, str(error).strip().splitlines()[-1]
    print(line)
    return Check('two processes on one device (gloo)', code, time.perf_counter() - start, line)


def markdown(report: dict) -> str:
    """Return the report as Markdown tables."""
    lines = [f'# {report["device"]}', '', f'torch {report["torch"]}, commit {report["commit"]}', '']
    lines += ['| check | result | s | last line |', '| --- | --- | --- | --- |']
    for check in report['checks']:
        result = 'passed' if check['code'] == 0 else f'FAILED ({check["code"]})'
        lines.append(f'| {check["name"]} | {result} | {check["seconds"]:.0f} | {check["last_line"][:90]} |')
    lines += ['', '| config | kernels | precision | step, ms | peak, GiB | inference, ms | peak, GiB | loss |']
    lines.append('| --- ' * 8 + '|')
    for row in report['figures']:
        lines.append(
            f'| {row["variant"]} | {row["kernels"]} | {row["precision"]} | {row["step_ms"]:.0f} | '
            f'{row["step_gib"]:.1f} | {row["inference_ms"]:.0f} | {row["inference_gib"]:.1f} | {row["loss"]:.3f} |'
        )
    lines += ['', '| a step of `model` | launches | synchronizations |', '| --- ' * 3 + '|']
    for name, costs in report['host_costs'].items():
        lines.append(f'| {name} | {costs["launches"]} | {costs["synchronizations"]} |')
    lines += ['', f'Ceilings: {rates_text(report["ceilings"])}.']
    return '\n'.join(lines) + '\n'


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else platform.processor() or 'CPU'


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/gpu'), help='default: work_dirs/gpu')
    parser.add_argument('--repetitions', type=int, default=10)
    return parser.parse_args()


@command
def main() -> int:
    """Run all, write the report, and return 1 if a check failed."""
    args = parse_args()
    try:
        device = torch.device(args.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip('.')
        raise InputError(f'--device {args.device}: {reason}; give --device cpu to try this without a GPU') from error
    args.out.mkdir(parents=True, exist_ok=True)
    on_cpu = device.type == 'cpu'
    repetitions = 1 if on_cpu else args.repetitions
    figures = []
    for variant in VARIANTS[:1] if on_cpu else VARIANTS:
        for kernels in ('torch',) if on_cpu else ('auto', 'torch') if variant == 'model' else ('auto',):
            figures += measure(variant, kernels, device, repetitions)
    report = {
        'device': _name(device),
        'torch': torch.__version__,
        'commit': commit(),
        'ceilings': ceilings(device),
        'figures': [asdict(row) for row in figures],
        'host_costs': host_costs(device),
        'checks': [asdict(check) for check in (two_ranks(args.device, args.out), *checks(args.device, args.out))],
    }
    save_json(args.out / 'gpu.json', report, indent=1)
    text = markdown(report)
    (args.out / 'gpu.md').write_text(text)
    print(f'\n{text}\nwritten: {args.out}/gpu.json, gpu.md')
    return int(any(check['code'] for check in report['checks']))


if __name__ == '__main__':
    sys.exit(main())
