"""The parts of the network that can be compiled: whole graphs, the same names, the same numbers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch._inductor import cpp_builder
from torch._inductor.exc import InvalidCxxCompiler

from projects.DistillNeRF.models.compiling import compile_part
from projects.DistillNeRF.modules import chunked, layers
from projects.DistillNeRF.modules.chunked import set_activation_checkpointing
from projects.DistillNeRF.modules.coarse_depth import DepthFeatureCombiner
from projects.DistillNeRF.modules.decoder import ColorDecoder
from projects.DistillNeRF.modules.fine_depth import FineDepthNet
from projects.DistillNeRF.modules.fpn import FPN
from tests.helpers.commands import run
from tests.helpers.networks import tiny_model
from tests.helpers.refusals import assert_refused

PARTS = ('pyramid', 'combiner', 'fine_combiner', 'decoder')


def part(name: str) -> tuple[nn.Module, list[Tensor]]:
    """A small part, in the precision that is compared with, and what it is given."""
    torch.manual_seed(0)
    if name == 'pyramid':
        return FPN(4, 8, 8, (1, 1, 1, 1)), [torch.rand(2, 3, 32, 48)]
    if name == 'combiner':
        return DepthFeatureCombiner(8, 16), [torch.rand(2, 8, 16, 24), torch.rand(2, 16, 8, 12)]
    if name == 'fine_combiner':
        return FineDepthNet(8, 8, width=4, hidden=8).combiner, [torch.rand(2, 12, 16, 24)]
    return ColorDecoder(9, 32, num_layers=2), [torch.rand(2, 9, 16, 24), torch.tensor([0, 1])]


def results(module: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    """The output, and the gradients of weights and of the first input."""
    first = inputs[0].clone().requires_grad_()
    output = module(first, *inputs[1:])
    (output * torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)).sum().backward()
    return [output.detach(), first.grad, *(parameter.grad for parameter in module.parameters())]


def error(found: list[Tensor], exact: list[Tensor]) -> float:
    """The largest difference, against the largest number of the output, and of the gradients.

    Some gradients are zero but for rounding (those of biases before a norm), so each alone has no scale.
    """
    scales = [exact[0].abs().max(), *[max(grad.abs().max() for grad in exact[1:])] * (len(exact) - 1)]
    return max(((a - b).abs().max() / scale).item() for a, b, scale in zip(found, exact, scales, strict=True))


@pytest.fixture(autouse=True)
def forget():
    """Graphs of one test are no part of the next."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize('name', PARTS)
def test_a_part_is_one_graph_on_a_gpu(name, monkeypatch):
    """What is chosen by the device is as on CUDA."""
    for file in (chunked, layers):
        monkeypatch.setattr(file, 'keeps_in_cache', lambda device: False)
    module, inputs = part(name)
    explained = torch._dynamo.explain(module)(*inputs)
    assert (explained.graph_count, explained.graph_break_count) == (1, 0), explained.break_reasons
    same_numbers(name, 'aot_eager')


@pytest.mark.parametrize('half', [False, True])
@pytest.mark.parametrize('recompute', [False, True])
@pytest.mark.parametrize('name', PARTS)
def test_a_part_is_one_graph(name, recompute, half):
    module, inputs = part(name)
    set_activation_checkpointing(module, recompute)
    with torch.autocast('cpu', torch.bfloat16, enabled=half):
        explained = torch._dynamo.explain(module)(*inputs)
    assert (explained.graph_count, explained.graph_break_count) == (1, 0), explained.break_reasons


def same_numbers(name: str, backend: str, recompute: bool = False) -> None:
    """Compare a compiled part with float64.

    Fused sums round in another order. How much that may change is measured: the part as it is, in float32, is off by
    the same mechanism, and the compiled one by at most 16 times as much.
    """
    module, inputs = part(name)
    set_activation_checkpointing(module, recompute)
    exact, compiled = copy.deepcopy(module).double(), copy.deepcopy(module)
    names = list(module.state_dict())
    compiled.compile(backend=backend)
    reference = results(exact, [x.double() if x.is_floating_point() else x for x in inputs])
    plain, ours = (error(results(m, inputs), reference) for m in (module, compiled))
    assert ours <= 16 * plain < 1e-3
    assert list(compiled.state_dict()) == [name for name, _ in compiled.named_parameters()] == names


@pytest.mark.parametrize('recompute', [False, True])
@pytest.mark.parametrize('name', PARTS)
def test_the_captured_graphs_compute_the_same(name, recompute):
    """Forward and backward graphs as the compiler gets them, without its code."""
    same_numbers(name, 'aot_eager', recompute)


@pytest.mark.parametrize('name', ['decoder', *(pytest.param(name, marks=pytest.mark.slow) for name in PARTS[:3])])
def test_compiled_code_computes_the_same(name):
    same_numbers(name, 'inductor')


def test_the_option_compiles_the_dense_parts_and_changes_no_name():
    plain, compiled = tiny_model(), tiny_model(compile=True)
    assert list(plain.state_dict()) == list(compiled.state_dict())
    named = dict(compiled.named_modules())
    parts = {name for name, module in named.items() if module._compiled_call_impl is not None}
    wanted = {'coarse_net.pyramid', 'fine_net.pyramid', 'fine_net.combiner', 'head.decoder'}
    assert parts - {'network.coarse_net.combiner'} == {f'network.{name}' for name in wanted}
    assert ('network.coarse_net.combiner' in parts) == (named['network.coarse_net'].combiner is not None)
    assert not any(module._compiled_call_impl for module in plain.modules())
    assert not any(module._compiled_call_impl for module in copy.deepcopy(compiled).modules()), 'an average of weights'


def test_without_a_compiler_training_ends_with_one_line_and_code_2(project, tmp_path, monkeypatch):
    def missing() -> str:
        raise InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, 'get_cpp_compiler', missing)
    monkeypatch.setenv('TORCHINDUCTOR_CACHE_DIR', str(tmp_path / 'kernels'))  # nothing is compiled by now
    options = ('--work-dir', tmp_path / 'work', '--cfg-options', 'model.network.compile=True')
    assert_refused(
        run('train', project.config, *options),
        'No working C++ compiler found',
        'or set model.network.compile=False',
        start='model.network.compile=True: ',
    )


def test_a_platform_without_torch_compile_is_refused_when_the_network_is_built(monkeypatch):
    def unsupported(*_: object, **__: object) -> None:
        raise RuntimeError('torch.compile is not supported on Python 3.15+')

    monkeypatch.setattr(torch, 'compile', unsupported)
    assert_refused(lambda: tiny_model(compile=True), 'not supported on Python 3.15', 'model.network.compile=False')


def test_what_a_part_itself_raises_is_no_matter_of_the_compiler():
    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyError('a fault')

    part = Faulty()
    compile_part(part)
    with pytest.raises(KeyError, match='a fault'):
        part(torch.ones(1))
    with pytest.raises(TypeError, match='argument'):
        part()
