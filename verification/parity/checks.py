"""All checks of a folder of vectors."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from projects.DistillNeRF.models.conversion import PUBLISHED_VARIANTS, published_settings
from projects.DistillNeRF.utils.errors import InputError
from projects.DistillNeRF.utils.precision import computing
from verification.parity.comparison import Report
from verification.parity.conditioning import measured
from verification.parity.end_to_end import check_end_to_end
from verification.parity.float64 import check_float64
from verification.parity.frozen_depth import NAME, check_depth_anything, check_head, check_resizing
from verification.parity.rendering import check_rendering, scene_of_variant
from verification.parity.stages import check_encoder
from verification.parity.unit_data import DATA_CHECKS
from verification.parity.units import NETWORK_CHECKS
from verification.parity.vectors import HINT, Vectors


class UnitArrays:
    """The unit vectors by name, on the device of the vectors; it remembers which were asked for."""

    def __init__(self, vectors: Vectors) -> None:
        self._arrays = vectors.arrays('unit')
        self._device = vectors.device
        self._used: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self._used.add(name)
        return torch.from_numpy(self._arrays[name]).to(self._device)

    def in_main_memory(self) -> UnitArrays:
        """Return the same vectors where data are loaded; what is asked of them counts here, too."""
        other = copy.copy(self)
        other._device = None
        return other

    def names(self, name: str) -> list[str]:
        """Return an array of strings."""
        self._used.add(name)
        return self._arrays[name].tolist()

    @property
    def unused(self) -> list[str]:
        """List the arrays that nothing was compared with."""
        return sorted(set(self._arrays) - self._used)


def check_all(vectors: Vectors, variants: Sequence[str] = ()) -> tuple[Report, list[str]]:
    """Run every check of every variant (or of the named ones) that the folder has files for.

    The networks compute on the device of the vectors, in float32 without TF32 (and in float64); data are prepared on
    the CPU, where everything is compared.

    Returns:
        the report, and the names of unit vectors that have nothing to be compared with here.

    Raises:
        InputError: unknown variants, or a folder without vectors.
    """
    if unknown := sorted(set(variants) - set(PUBLISHED_VARIANTS)):
        raise InputError(f'unknown variant {unknown[0]!r}: choose from {", ".join(PUBLISHED_VARIANTS)}')
    # Gradients are made in the checks, too, so that all of it is in float32 proper.
    with computing('fp32', torch.empty((), device=vectors.device).device.type):
        return _check(vectors, variants)


def _check(vectors: Vectors, variants: Sequence[str]) -> tuple[Report, list[str]]:
    """Run the checks; variants are known ones."""
    report = Report()
    sharp = [name for name in vectors.variants('f64_') if not variants or name in variants]
    stored = [name for name in vectors.variants() if not variants or name in variants]
    if not sharp and not stored:
        raise InputError(f'{vectors.folder}: holds no vectors of {", ".join(variants or PUBLISHED_VARIANTS)}; {HINT}')
    for variant in sharp:
        report.heading = f'float64 {variant}: '
        measured(partial(check_float64, vectors, variant), report)
    _check_float32(vectors, stored, report)
    unused: list[str] = []
    if not variants and (vectors.folder / f'{NAME}.npz').is_file():
        report.heading = f'float32 {NAME}: '
        measured(partial(check_depth_anything, vectors), report)
    if not variants and (vectors.folder / 'unit.npz').is_file():
        report.heading = 'unit: '
        unit = UnitArrays(vectors)
        data = unit.in_main_memory()
        for check in NETWORK_CHECKS:
            measured(partial(check, unit), report)
        for check in DATA_CHECKS:
            measured(partial(check, data), report)
        for check in (check_resizing, check_head):
            measured(partial(check, unit), report)
        unused = unit.unused
    return report, unused


def _check_float32(vectors: Vectors, variants: Sequence[str], report: Report) -> None:
    """Check stage by stage, then end to end; variants without encoder arrays use the encoder of another one."""
    encoders: dict[object, str] = {}
    for variant in vectors.variants():
        if 'octree/convout7' in vectors.arrays(variant):
            encoders[str(published_settings(variant)['space'])] = variant
    for variant in variants:
        base = encoders.get(str(published_settings(variant)['space']))
        if base is None:
            raise InputError(f'{vectors.folder}: no file has the encoder of {variant}; {HINT}')
        report.heading = f'float32 {variant}: '
        measured(partial(_check_stages, vectors, variant, base), report)
        report.heading = f'float32 {variant}, end to end: '
        check_end_to_end(vectors, variant, report)


def _check_stages(vectors: Vectors, variant: str, base: str, report: Report) -> None:
    """Check all stages; ``base`` is the variant that has the encoder."""
    scene, stored = check_encoder(vectors, base, report if base == variant else Report())
    check_rendering(vectors, variant, scene_of_variant(scene, variant), stored, report)
