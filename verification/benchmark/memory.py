"""Derive the memory of training steps from the tensors that are kept for the gradient, without a GPU.

    python -m verification.benchmark.memory [--variant model ..] [--precision fp32 bf16] [--json FILE]

Runs the forward pass and the losses of published configurations on random images of published size, in chunks as large
as on a GPU and with plain torch kernels. What autograd would keep is counted and thrown away, so that any machine can
do it. A step needs what is kept, four numbers per weight (itself, its gradient and two of Adam), and what its largest
operation works with: in plain torch the gathered rows, gradients and products of a sparse convolution's backward pass.
The Triton kernels, which ``auto`` uses with bf16 and fp16, store none of these.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from unittest.mock import patch

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from projects.DistillNeRF.engine.command_line import file_path
from projects.DistillNeRF.engine.machine import prepare_processor
from projects.DistillNeRF.evaluation.report import text_table
from projects.DistillNeRF.kernels.selection import set_kernels
from projects.DistillNeRF.models.conversion import CONFIGS
from projects.DistillNeRF.models.wrapper import DistillNeRFModel
from projects.DistillNeRF.modules.sparse_conv import ConvMaps, SparseConv
from projects.DistillNeRF.utils.errors import InputError, command
from projects.DistillNeRF.utils.files import save_json
from projects.DistillNeRF.utils.precision import AUTOCAST, DEFAULT
from verification.benchmark.training import Size, published_model, random_batch

GIBI = 1 << 30
CARDS = (24, 40, 80)
VARIANTS = sorted(path.stem for path in CONFIGS.glob('model*.py'))
NUMBERS_PER_WEIGHT = 4


@dataclass(frozen=True)
class Memory:
    """Memory of a training step.

    Attributes:
        variant, precision: the configuration.
        kept: bytes of the tensors that the backward pass needs.
        weights: bytes of weights that are trained, with their gradients and Adam's moments, and of those that are not.
        working: bytes of the largest sparse convolution's buffers in plain torch.
    """

    variant: str
    precision: str
    kept: int
    weights: int
    working: int

    def peak(self, kernels: str) -> int:
        """Return the bytes of a step with ``torch`` or ``auto`` kernels."""
        stored = kernels == 'torch' or self.precision == DEFAULT
        return self.kept + self.weights + self.working * stored

    def card(self, kernels: str) -> str:
        """Return the smallest card that holds a step with a quarter to spare: some things are not counted."""
        needed = 1.25 * self.peak(kernels)
        return next((f'{size} GB' for size in CARDS if needed <= size * 1e9), f'more than {CARDS[-1]} GB')


class KeptTensors:
    """Count the bytes that autograd keeps inside, each storage once, without keeping them: there is no backward pass.

    Tensors that live on anyway, such as weights, count once, too; ``without`` leaves them out.
    """

    def __init__(self, without: Iterator[Tensor]) -> None:
        self._storages = {StorageWeakRef(tensor.untyped_storage()).cdata: 0 for tensor in without}
        # A reference to each keeps its address from being given to another one.
        self._seen: list[StorageWeakRef] = []

    @property
    def total(self) -> int:
        """Return the bytes so far."""
        return sum(self._storages.values())

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what is kept inside."""
        with torch.autograd.graph.saved_tensors_hooks(self._keep, self._refuse):
            yield

    def _keep(self, tensor: Tensor) -> None:
        storage = StorageWeakRef(tensor.untyped_storage())
        if storage.cdata not in self._storages:
            self._seen.append(storage)
            self._storages[storage.cdata] = tensor.untyped_storage().nbytes()

    def _refuse(self, kept: None) -> Tensor:
        raise RuntimeError('what is counted is thrown away: there is no backward pass')


@contextmanager
def chunks_of_a_gpu() -> Iterator[None]:
    """Work in chunks as large as on a GPU."""
    package = 'projects.DistillNeRF.modules'
    with (
        patch(f'{package}.chunked.keeps_in_cache', lambda device: False),
        patch(f'{package}.layers.keeps_in_cache', lambda device: False),
    ):
        yield


def weights_of(model: DistillNeRFModel) -> int:
    """Return the bytes of all weights and of what the optimizer adds to those that are trained."""
    trained = {id(p): p for p in model.parameters() if p.requires_grad}
    bytes_of = {True: 0, False: 0}
    for tensor in (*model.parameters(), *model.buffers()):
        bytes_of[id(tensor) in trained] += tensor.numel() * tensor.element_size()
    return NUMBERS_PER_WEIGHT * bytes_of[True] + bytes_of[False]


def _watch_convolutions(model: DistillNeRFModel) -> list[int]:
    """Return a list to which every sparse convolution adds the bytes of its buffers in the backward pass."""
    sizes: list[int] = []

    def note(module: SparseConv, inputs: tuple[Tensor, ConvMaps]) -> None:
        x, maps = inputs
        dtype = torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else x.dtype
        pairs = max((len(chunk.inputs) for chunk in maps.kernel_maps[1].chunks), default=0)
        _, in_channels, out_channels = module.weight.shape
        sizes.append(pairs * (2 * in_channels + out_channels) * dtype.itemsize)

    for module in model.modules():
        if isinstance(module, SparseConv):
            module.register_forward_pre_hook(note)
    return sizes


def measure(variant: str, precision: str, size: Size) -> Memory:
    """Count what a training step of a published configuration keeps."""
    model = published_model(variant).train()
    set_kernels(model, 'torch')
    batch = random_batch(model.network, variant, size)
    kept = KeptTensors(iter((*model.parameters(), *model.buffers())))
    buffers = _watch_convolutions(model)
    dtype = AUTOCAST.get(precision)
    with chunks_of_a_gpu(), kept.counting(), torch.autocast('cpu', dtype, enabled=dtype is not None):
        model.parse_losses(model(batch, mode='loss'))
    return Memory(variant, precision, kept.total, weights_of(model), max(buffers))


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--variant', nargs='+', choices=VARIANTS, default=VARIANTS, help='default: all')
    parser.add_argument('--precision', nargs='+', choices=(DEFAULT, *AUTOCAST), default=[DEFAULT, 'bf16'])
    parser.add_argument('--inputs', type=int, help='number of input views; default: those of the data set')
    parser.add_argument('--targets', type=int, default=12, help='number of target views; default: 12')
    parser.add_argument('--json', type=file_path, help='write all figures to this file, too')
    return parser.parse_args()


@command
def main() -> None:
    """Print a table."""
    args = parse_args()
    if args.targets < 1 or (args.inputs is not None and args.inputs < 1):
        raise InputError('--inputs, --targets: give 1 or more')
    prepare_processor()
    results = []
    for variant in args.variant:
        for precision in args.precision:
            inputs = args.inputs or (3 if 'waymo' in variant else 6)
            results.append(measure(variant, precision, Size(inputs=inputs, targets=args.targets)))
            print(results[-1], flush=True)
    rows = []
    for result in results:
        sizes = (result.kept, result.weights, result.working, result.peak('torch'), result.peak('auto'))
        figures = [f'{size / GIBI:.1f}' for size in sizes]
        rows.append([result.variant, result.precision, *figures, result.card('auto')])
    head = ['config', 'precision', 'kept, GiB', 'weights', 'working', 'peak, torch', 'peak, auto', 'fits (auto)']
    print(text_table(head, rows, left=(0, 1)))
    if args.json:
        save_json(args.json, [asdict(result) for result in results], indent=1)


if __name__ == '__main__':
    main()
