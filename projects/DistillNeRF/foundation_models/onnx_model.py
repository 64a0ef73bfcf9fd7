"""Run any ONNX model that takes one image, by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..utils.errors import InputError
from ..utils.files import require_file
from ..utils.provenance import fingerprint
from .sources import require_package

HINT = 'give a whole ONNX file'
COLORS = 3
TYPES = {'tensor(float)': np.float32, 'tensor(float16)': np.float16, 'tensor(uint8)': np.uint8}


class OnnxModel:
    """An ONNX model of one image input, ``(N, 3, H, W)`` or ``(N, H, W, 3)``.

    It uses as many threads as torch does when it is opened (``torch.get_num_threads()``).

    Args:
        path: the file.
        device: where it runs, if onnxruntime was built for it.

    Attributes:
        size: (height, width) of the input; None for one that is free.
        outputs: names of the outputs.
        channels_last: whether images, and so maps, are ``(N, H, W, C)``.

    Raises:
        InputError: onnxruntime is missing, a damaged file, no image input, or a device that it cannot use.
    """

    def __init__(self, path: str | Path, device: str) -> None:
        self.path = require_file(Path(path).expanduser(), HINT)
        self._session = _open(self.path, device)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in TYPES:
            found = '; '.join(f'{entry.name} {entry.type} {entry.shape}' for entry in inputs)
            raise InputError(f'{self.path}: needs {found}, not one image of four axes; give a model of an image')
        self._input, shape = inputs[0], inputs[0].shape
        self.channels_last = shape[1] != COLORS and shape[3] == COLORS
        if not self.channels_last and shape[1] not in (COLORS, None) and not isinstance(shape[1], str):
            raise InputError(f'{self.path}: its input {shape} has no 3 channels; give a model of RGB images')
        self.size = tuple(_number(axis) for axis in (shape[1:3] if self.channels_last else shape[2:4]))
        self._batch = _number(shape[0])
        self.outputs = tuple(output.name for output in self._session.get_outputs())

    def digest(self) -> str:
        """Return a digest of the file."""
        return fingerprint(file=self.path)

    def require_size(self, size: Sequence[int]) -> None:
        """Check that the input may have a size (height, width).

        Raises:
            InputError: it is fixed to another one.
        """
        if any(fixed not in (None, given) for fixed, given in zip(self.size, size, strict=True)):
            raise InputError(
                f'{self.path}: its input is {self.size[0]}x{self.size[1]} (height x width, None: free), not '
                f'{size[0]}x{size[1]}; leave the size away, or give this one'
            )

    def choose_output(self, name: str | None, axes: int, what: str) -> str:
        """Return the name of an output with so many axes: the one asked for, or else the first.

        Args:
            name: of the output; None for the first that fits.
            axes: number of its axes.
            what: what it is, for messages.

        Raises:
            InputError: there is none.
        """
        shapes = {output.name: output.shape for output in self._session.get_outputs()}
        found = ', '.join(f'{output} {shape}' for output, shape in shapes.items())
        if name is not None and name not in shapes:
            raise InputError(f'{self.path}: has no output {name}; it has {found}')
        # A model may leave the shapes of its outputs open.
        fits = [output for output, shape in shapes.items() if len(shape) in (0, axes)]
        chosen = [output for output in fits if name in (None, output)]
        if not chosen:
            raise InputError(f'{self.path}: no output is {what} of {axes} axes ({found}); give a model that has one')
        return chosen[0]

    def __call__(self, images: torch.Tensor, outputs: Sequence[str] | None = None) -> list[np.ndarray]:
        """Run the model.

        Args:
            images: ``(N, 3, H, W)``, normalized as the model wants them; of any N, also where the model takes one.
            outputs: names of those that are returned; default: all.

        Raises:
            InputError: the model fails on images of this size.
        """
        array = images.detach().cpu().numpy()
        array = np.ascontiguousarray(array.transpose(0, 2, 3, 1) if self.channels_last else array)
        array = array.astype(TYPES[self._input.type], copy=False)
        step = self._batch or len(array)
        names = list(outputs or self.outputs)
        parts = [self._run(array[start : start + step], step, names) for start in range(0, len(array), step)]
        return [np.concatenate(part) if len(part) > 1 else part[0] for part in zip(*parts, strict=True)]

    def _run(self, array: np.ndarray, step: int, names: list[str]) -> list[np.ndarray]:
        """Run one batch; one that is smaller than a fixed batch is filled up by its last image."""
        count = len(array)
        if count < step:
            array = np.concatenate([array, np.repeat(array[-1:], step - count, axis=0)])
        try:
            found = self._session.run(names, {self._input.name: array})
        except Exception as error:  # onnxruntime has no common kind of errors
            cause = ' '.join(str(error).split())[:200]
            raise InputError(
                f'{self.path}: fails on images of {tuple(array.shape)} ({cause}); give another size'
            ) from error
        return [output[:count] if count < step else output for output in found]


def _open(path: Path, device: str) -> Any:
    """Open a session of onnxruntime."""
    onnxruntime = require_package('onnxruntime')
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what is wrong, we tell
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise InputError(f'--device {device}: no such device ({" ".join(str(error).split())[:100]})') from error
    provider = f'{kind.upper()}ExecutionProvider'
    if provider not in (available := onnxruntime.get_available_providers()):
        raise InputError(f'--device {device}: this onnxruntime runs on {", ".join(available)}; choose one of them')
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:  # a damaged file can fail in nearly any way
        cause = ' '.join(str(error).split())[:200]
        raise InputError(f'{path}: not a readable ONNX model ({cause}); {HINT}') from error


def _number(axis: Any) -> int | None:
    """Return the length of an axis; None where it is free."""
    return axis if isinstance(axis, int) and axis > 0 else None
