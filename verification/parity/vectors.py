"""A folder of vectors: its inputs as our objects, its arrays by name (docs/NETWORK.md#vectors)."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.models.conversion import PUBLISHED_VARIANTS
from projects.DistillNeRF.utils.errors import InputError

HINT = 'give a folder of parity vectors, such as tests/data/parity'

# Rows that may be left out of a stored array: every 2nd, every 7th, ...
STRIDES = (1, 2, 4, 7, 8, 11, 16, 32, 44, 64, 97, 128, 256, 388)


@dataclass(frozen=True)
class Vectors:
    """The vectors in ``folder``, and where they are compared.

    Attributes:
        device: of all tensors, and of the networks that compute with them; ``None`` for torch's own default.
    """

    folder: Path
    device: torch.device | None = None

    def variants(self, prefix: str = '') -> list[str]:
        """List the published variants with a file ``<prefix><variant>.npz`` here."""
        return [name for name in PUBLISHED_VARIANTS if (self.folder / f'{prefix}{name}.npz').is_file()]

    def all_variants(self) -> list[str]:
        """List the published variants with a float64 or a float32 file here."""
        return [name for name in PUBLISHED_VARIANTS if name in {*self.variants('f64_'), *self.variants()}]

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Read all arrays of a file.

        Raises:
            InputError: missing or damaged.
        """
        path = self.folder / f'{name}.npz'
        if not path.is_file():
            raise InputError(f'{path}: no such file; {HINT}')
        try:
            with np.load(path, allow_pickle=False) as archive:
                return dict(archive)
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f'{path}: not a readable archive ({error}); {HINT}') from error

    @cached_property
    def inputs(self) -> dict[str, np.ndarray]:
        """Read the arrays of ``inputs.npz``."""
        return self.arrays('inputs')

    def views(self, dtype: torch.dtype) -> Views:
        """Return the input cameras with their images."""
        images = self._tensor('imgs', dtype)
        cameras = self._cameras('', dtype)
        views = Views(
            images,
            cameras,
            names=tuple(f'CAM_{i}' for i in range(len(cameras))),
            frames=(0,) * len(cameras),
            depth_features=self._tensor('depthanything_depth_feature', dtype),
        )
        return views.to(self.device)

    def targets(self, dtype: torch.dtype) -> Cameras:
        """Return the cameras to render, in the size of the input images."""
        return self._cameras('target_', dtype).to(self.device)

    @property
    def camera_classes(self) -> list[int]:
        """Return the decoder's class of every target camera."""
        return self.inputs['target_cam_classes'].tolist()

    def _cameras(self, prefix: str, dtype: torch.dtype) -> Cameras:
        rotations = self._tensor(prefix + 'rots', dtype)
        cam2world = torch.eye(4, dtype=dtype).repeat(len(rotations), 1, 1)
        cam2world[:, :3, :3] = rotations
        cam2world[:, :3, 3] = self._tensor(prefix + 'trans', dtype)
        intrinsics = self._tensor(prefix + 'post_rots', dtype) @ self._tensor(prefix + 'intrins', dtype)
        height, width = self.inputs['imgs'].shape[-2:]
        return Cameras(intrinsics, cam2world, height, width)

    def _tensor(self, name: str, dtype: torch.dtype) -> Tensor:
        if name not in self.inputs:
            raise InputError(f'{self.folder / "inputs.npz"}: has no {name}; {HINT}')
        return torch.from_numpy(self.inputs[name]).to(dtype)


def stride_of(full: int, stored: int) -> int:
    """Return the stride with which ``stored`` of ``full`` rows were stored.

    Raises:
        InputError: no stride of the format gives that number.
    """
    for stride in STRIDES:
        if -(-full // stride) == stored:
            return stride
    raise InputError(f'{stored} of {full} rows are stored, which is no stride of the format; {HINT}')


def thinned(ours: Tensor, expected: np.ndarray) -> Tensor:
    """Select the rows, or rows and columns, of our tensor at which the expected one was stored."""
    for dim, (full, stored) in enumerate(zip(ours.shape, expected.shape, strict=True)):
        if full != stored:
            ours = ours.narrow(dim, 0, full)[(slice(None),) * dim + (slice(None, None, stride_of(full, stored)),)]
    return ours
