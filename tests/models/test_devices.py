"""Readiness for other devices, without one: nothing is made on the default device, nothing is fetched back."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from projects.DistillNeRF.models.wrapper import DistillNeRFModel
from projects.DistillNeRF.modules import chunked, kernel_map, layers
from tests.helpers.networks import LOSSES, make_batch, tiny_model
from verification.benchmark.launches import HostCosts
from verification.benchmark.training import Size, published_model, random_batch

FACTORIES = {
    getattr(torch, name)
    for name in (
        *('zeros', 'ones', 'full', 'empty', 'arange', 'linspace', 'logspace', 'eye', 'tensor', 'as_tensor', 'rand'),
        *('randn', 'randint', 'randperm', 'tril_indices', 'triu_indices', 'scalar_tensor', 'from_numpy'),
    )
}
FETCHES = {getattr(torch.Tensor, name) for name in ('cpu', 'numpy', 'item', '__float__', '__int__', 'cuda')}


class SameDevice(TorchFunctionMode):
    """Fails on tensors that are made without a device, and on numbers that are fetched from the device."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in FACTORIES and (kwargs or {}).get('device') is None:
            raise AssertionError(f'torch.{func.__name__} without a device')
        if func in FETCHES:
            raise AssertionError(f'Tensor.{func.__name__} in the hot path')
        return func(*args, **(kwargs or {}))


@contextmanager
def same_device() -> Iterator[None]:
    with SameDevice():
        yield


def step(model: DistillNeRFModel, inputs: dict) -> None:
    """Forward, losses and backward."""
    losses = model(inputs, mode='loss')
    sum(value for name, value in losses.items() if 'loss' in name).backward()


@pytest.mark.parametrize('head', [{'width': 32, 'num_layers': 2}, {'type': 'feature'}])
def test_a_step_stays_on_its_device(head):
    losses = LOSSES if 'type' not in head else {name: loss for name, loss in LOSSES.items() if name != 'rgb'}
    model = tiny_model(losses, head=head, jitter=True)
    inputs = make_batch(1, 2)
    # What is made once per device and kept, such as the edges of the depth bins, is made here.
    step(model, inputs)
    with same_device():
        step(model, inputs)


def test_a_step_of_the_successor_stays_on_its_device():
    options = {
        'coarse': {
            'width': 4,
            'channels': 8,
            'blocks': (1, 1, 1, 1),
            'depth_channels': None,
            'distribution': 'softmax',
        },
        'depth_bins': {'number': 12, 'near': 0.5, 'far': 30.0, 'focal': 0.8},
        'plane_sweep': {'channels': 4, 'groups': 2},
        'source_blend': {'count': 2, 'channels': 8, 'past': True},
        'sampling': {'fine_samples': 4, 'mean_density': True},
    }
    model = tiny_model(LOSSES, **options, num_past=1, rows_per_pixel=3)
    inputs = make_batch(1, 2)
    inputs['input_views'] = [
        replace(views, past=replace(views, frames=(-1,) * len(views))) for views in inputs['input_views']
    ]
    step(model, inputs)
    with same_device():
        step(model, inputs)


# Height and width of the images in the count of launches, a sixteenth of the published pixels.
SMALL_IMAGE = (32, 56)
PUBLISHED_IMAGE = (128, 228)


@pytest.mark.parametrize('variant', ['model', 'model_foundation_feature'])
def test_a_published_step_keeps_a_gpu_busy(monkeypatch, variant):
    """Count launches and synchronizations as on a GPU, without its fused kernels, in as many chunks as there."""
    # Of 6 input views; 12 target views are as many times more.
    pixels = 2 / 6 * math.prod(SMALL_IMAGE) / math.prod(PUBLISHED_IMAGE)
    for module in (chunked, layers):
        monkeypatch.setattr(module, 'keeps_in_cache', lambda device: False)
    for module in (chunked, kernel_map):
        monkeypatch.setattr(module, 'GPU_CHUNK_NUMEL', round(module.GPU_CHUNK_NUMEL * pixels))
    model = published_model(variant).train()
    batch = random_batch(model.network, variant, Size(SMALL_IMAGE, inputs=2, targets=3))

    def step() -> None:
        total, _ = model.parse_losses(model(batch, mode='loss'))
        total.backward()

    # What is made once per device and kept is made here.
    step()
    model.zero_grad(set_to_none=True)
    with HostCosts() as costs:
        step()
    assert costs.synchronizations.total() <= 20, costs.synchronizations
    assert costs.launches.total() <= 4000, costs.launches.most_common(20)


def test_launches_and_synchronizations_are_counted():
    x = torch.arange(4.0)
    with HostCosts() as costs:
        y = x.view(2, 2).T + 1
        y[y > 2].tolist()
        float(y.sum())
        torch.bincount(torch.tensor([1, 2]))
    expected = {'index by a mask': 1, 'tolist': 1, 'item': 1, 'tensor made on the host': 1, 'bincount': 1}
    assert costs.synchronizations == expected
    assert costs.launches == {'add': 1, 'gt': 1, 'index': 1, 'sum': 1, 'bincount': 1}


def test_no_segment_has_as_many_entries_as_there_are_samples(monkeypatch):
    """Most samples hit nothing: one segment of all these would keep a GPU's other cores waiting."""
    entries = []

    def watched(rows: Tensor, table: Tensor, offsets: Tensor, **settings: Any) -> Tensor:
        entries.append(len(rows))
        return bags(rows, table, offsets, **settings)

    bags = F.embedding_bag
    # Cells so small that 7 to 19 % of the samples hit one, by the seed of images and weights.
    model = tiny_model({}, head={'type': 'feature'}, levels=(5, 7))
    inputs = make_batch(1)
    scene = model.network.encode(inputs['input_views'])[0].scene
    # The pooling before has segments of its own.
    scene = replace(scene, coarse=scene.coarse.detach().requires_grad_(), fine=scene.fine.detach().requires_grad_())
    monkeypatch.setattr(F, 'embedding_bag', watched)
    rendering = scene.render(inputs['target_views'][0].cameras)
    assert rendering.features is not None
    rendering.features.sum().backward()
    assert rendering.depths is not None
    cameras = inputs['target_views'][0].cameras
    origins, directions = cameras.rays(*rendering.depth.shape[-2:])
    points = origins[:, None, None, None] + rendering.depths[..., None] * directions[..., None, :]
    hits = int(scene.query(points.detach().flatten(0, -2))[1].sum())
    assert len(entries) >= 2
    # Samples at the border of a cell may be computed to lie beside it.
    assert 0 < max(entries) <= 1.05 * hits
    assert max(entries) < 0.5 * rendering.depths.numel()


def test_the_guard_works():
    with same_device():
        for wrong in (lambda: torch.zeros(3), lambda: torch.arange(4), lambda: torch.ones(1, device='cpu').item()):
            with pytest.raises(AssertionError):
                wrong()
        torch.zeros(3, device=torch.device('cpu'))


def test_no_module_names_a_device(repo_root: Path):
    """Outside ``tools/``, devices come from the inputs."""
    named = re.compile(r"""['"](cuda|cpu|mps)(:\d+)?['"]|\.cuda\(""")
    allowed = {
        # Which kind of device a tensor is on decides how much work is done at a time, not where.
        'modules/chunked.py',
        # Triton's kernels are for one kind of device.
        'kernels/selection.py',
        'visualization/viewer/session.py',
        # Checkpoints are read into main memory, whatever they were written from.
        'models/checkpoint.py',
        'utils/torch_files.py',
        # The edges of the depth bins are computed there once, so that every device has the same bits.
        'geometry/contraction.py',
        # Values of images and cameras are looked at only where nothing waits for a device.
        'geometry/views.py',
        # The clock waits for GPUs, and memory is counted in another way there.
        'verification/benchmark/profiler.py',
        'verification/benchmark/stages.py',
        # Counts without a GPU what one would keep.
        'verification/benchmark/memory.py',
        # The time of processors.
        'verification/waymo_throughput.py',
        # Triton's interpreter, which needs no GPU, is slow.
        'verification/benchmark/kernel_timing.py',
        'verification/benchmark/gpu.py',
        # The default of the user's own choice.
        'apis.py',
        'engine/view.py',
        # Where mmengine gathers the results of all processes.
        'evaluation/metrics.py',
    }
    package = repo_root / 'projects/DistillNeRF'
    found = {
        str(path.relative_to(folder))
        for folder, files in ((package, package), (repo_root, repo_root / 'verification'))
        for path in files.rglob('*.py')
        if named.search('\n'.join(line.partition('#')[0] for line in path.read_text().splitlines()))
    }
    assert found <= allowed
