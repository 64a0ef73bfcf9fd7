"""A stand-in for mmcv's compiled operators.

``mmcv-lite`` has no ``mmcv._ext``, and ``mmcv.ops``, which mmdet and mmdet3d import everywhere, refuses to be
imported without it. DistillNeRF calls no compiled operator, so a stand-in whose operators raise when called is
enough to import everything; nothing is ever computed by it. Call :func:`ensure_mmcv_ext` before the first import of
``mmcv.ops``, ``mmdet.models`` or ``mmdet3d``.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import logging
import sys
import types
from collections.abc import Callable
from typing import NoReturn

EXTENSION = 'mmcv._ext'
# mmcv.utils.collect_env asks for these two whenever mmcv.ops can be imported; they are answers, not operators.
_BUILD_FACTS = ('get_compiler_version', 'get_compiling_cuda_version')

logger = logging.getLogger(__name__)


class MissingOpError(RuntimeError):
    """A compiled operator of mmcv was called, but mmcv was installed without them."""


class StandInExtension(types.ModuleType):
    """A module of which every public attribute exists and is a function that raises :class:`MissingOpError`."""

    def __getattr__(self, name: str) -> Callable[..., object]:
        if name.startswith('__'):
            raise AttributeError(name)
        function = _build_fact if name in _BUILD_FACTS else _missing(name)
        setattr(self, name, function)
        return function


def _build_fact() -> str:
    return 'not built (mmcv-lite)'


def _missing(name: str) -> Callable[..., NoReturn]:
    def operator(*args: object, **kwargs: object) -> NoReturn:
        raise MissingOpError(
            f'mmcv operator {name!r} was called, but this mmcv has no compiled operators; '
            'build them with: bash setup.sh --with-ops'
        )

    operator.__name__ = name
    return operator


def ensure_mmcv_ext() -> bool:
    """Make ``mmcv.ops`` importable; return True if the operators are real, False if they are the stand-in's.

    The stand-in is installed, and logged as a warning, once per process. A compiled extension that is present but
    does not load (built for another torch, say) is an error: its ImportError passes through.
    """
    if EXTENSION in sys.modules:
        return not isinstance(sys.modules[EXTENSION], StandInExtension)
    if importlib.util.find_spec(EXTENSION) is not None:
        importlib.import_module('torch')  # the extension links against torch's libraries
        importlib.import_module(EXTENSION)
        return True
    stand_in = StandInExtension(EXTENSION)
    stand_in.__spec__ = importlib.machinery.ModuleSpec(EXTENSION, loader=None)
    sys.modules[EXTENSION] = stand_in
    logger.warning(
        'mmcv has no compiled operators: a stand-in for %s is in use, whose operators raise when called '
        '(build the real ones with: bash setup.sh --with-ops)',
        EXTENSION,
    )
    return False
