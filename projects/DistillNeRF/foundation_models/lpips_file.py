"""Make the file of LPIPS of its two parts: VGG-16, which is on the hub, and the heads that its package ships."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..utils.errors import InputError
from ..utils.torch_files import load_torch, save_torch
from .checksums import Checksum
from .hub import INSTALL

PACKAGE = 'lpips==0.1.4'
HEADS = 'lpips/weights/v0.1/vgg.pth'
HEADS_SUM = Checksum('sha256', 'a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868')
# Numbers of the convolutions of VGG-16 in torchvision's order of layers, with their channels, and the first layer of
# each of the slices that the package cuts it into.
CONVOLUTIONS = dict(
    zip(
        (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
        (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512),
        strict=True,
    )
)
SLICES = (0, 4, 9, 16, 23)
HEAD_CHANNELS = (64, 128, 256, 512, 512)


def find_heads(folder: Path | None = None) -> Path | None:
    """Return the file of the heads: below ``folder``, or of an installed ``lpips``; ``None`` if there is none."""
    if folder is not None:
        known = [folder / HEADS, folder / HEADS.partition('/')[2], folder / Path(HEADS).name]
        return next((path for path in known if path.is_file()), None)
    spec = importlib.util.find_spec('lpips')  # without importing it, as it asks for torchvision
    places = spec.submodule_search_locations if spec is not None else None
    paths = [Path(place).parent / HEADS for place in places or ()]
    return next((path for path in paths if path.is_file()), None)


def fetch_heads(target: Path) -> None:
    """Take the heads out of the ``lpips`` package, which is installed or comes from the package index.

    Args:
        target: where the file goes.

    Raises:
        InputError: the package cannot be had, or its heads are others.
    """
    found = find_heads()
    if found is not None:
        target.write_bytes(found.read_bytes())
    else:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--dest', folder, PACKAGE]
            ended = subprocess.run(command, capture_output=True, text=True)
            wheels = list(Path(folder).glob('*.whl'))
            if ended.returncode or not wheels:
                lines = [line for line in ended.stderr.splitlines() if line.startswith('ERROR')]
                raise InputError(
                    f'{PACKAGE}: pip cannot get it ({lines[-1] if lines else "no wheel"}); it has the heads of LPIPS: '
                    f'install it, or give a folder that has {HEADS} with --from'
                )
            with zipfile.ZipFile(wheels[0]) as archive:
                target.write_bytes(archive.read(HEADS))
    if not HEADS_SUM.fits(target):
        target.unlink()
        raise InputError(f'{found or PACKAGE}: its {HEADS} is not that of LPIPS 0.1 (checksum); reinstall {PACKAGE}')


def write_lpips(vgg: Path, heads: Path, target: Path) -> None:
    """Write the weights of both, in the names of the ``lpips`` package.

    Args:
        vgg: VGG-16 of torchvision or timm, safetensors or of ``torch.save``.
        heads: file of the linear heads.
        target: what is written.

    Raises:
        InputError: other names or shapes, or a damaged file.
    """
    convolutions, linear = _read(vgg), _read(heads)
    weights = {}
    for name, shape in _shapes().items():
        if name.startswith('lin'):
            weights[name] = _taken(linear, name, shape, heads)
        else:
            weights[name] = _taken(convolutions, f'features.{name.split(".", 2)[2]}', shape, vgg)
    save_torch(target, weights)


def check_lpips(path: Path) -> None:
    """Check that a file has the names and shapes of LPIPS with VGG-16.

    Raises:
        InputError: it has not, or is damaged.
    """
    state = _read(path)
    for name, shape in _shapes().items():
        _taken(state, name, shape, path)


def _shapes() -> dict[str, tuple[int, ...]]:
    """Return the shapes of all weights by their names in the ``lpips`` package."""
    shapes: dict[str, tuple[int, ...]] = {}
    inputs = 3
    for layer, channels in CONVOLUTIONS.items():
        prefix = f'net.slice{sum(layer >= first for first in SLICES)}.{layer}'
        shapes[f'{prefix}.weight'], shapes[f'{prefix}.bias'] = (channels, inputs, 3, 3), (channels,)
        inputs = channels
    return shapes | {f'lin{i}.model.1.weight': (1, channels, 1, 1) for i, channels in enumerate(HEAD_CHANNELS)}


def _read(path: Path) -> Mapping[str, Any]:
    if path.suffix != '.safetensors':
        return load_torch(path, 'file of weights', f'get {PACKAGE} and timm/vgg16.tv_in1k again')
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise InputError(f'{path}: to read it, safetensors is needed; {INSTALL}') from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f'{path}: not a readable safetensors file ({error}); get it again') from error


def _taken(state: Mapping[str, Any], name: str, shape: tuple[int, ...], path: Path) -> Any:
    """Return the weight of a name.

    Raises:
        InputError: it is not there, or has another shape.
    """
    value = state.get(name) if isinstance(state, Mapping) else None
    if value is None or tuple(value.shape) != shape:
        found = 'missing' if value is None else f'of shape {tuple(value.shape)}'
        raise InputError(f'{path}: {name} is {found}, not of shape {shape}: these are no weights of LPIPS with VGG-16')
    return value.float().contiguous()
