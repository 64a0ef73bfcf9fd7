"""Records of Waymo as nested values, which can be damaged and written again."""

from __future__ import annotations

import contextlib
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from projects.DistillNeRF.datasets.converters.waymo.tfrecord import frame_record, read_records
from projects.DistillNeRF.datasets.converters.waymo.v1 import messages


def read_values(path: Path) -> list[dict[str, Any]]:
    """Return the messages of a file as dicts of the fields that are set; bytes and what they compress are arrays."""
    return [_values(messages().Frame.FromString(data)) for _, data in read_records(path)]


def write_values(path: Path, frames: Any) -> None:
    """Write what :func:`read_values` returned, changed.

    A field of a wrong type is left out: a parser does not find it in a message either.
    """
    records = []
    for values in frames if isinstance(frames, list) else ():
        made = messages().Frame()
        _set(made, values)
        records.append(frame_record(made.SerializePartialToString()))
    path.write_bytes(b''.join(records))


def _values(message: Any) -> dict[str, Any]:
    return {field.name: _value(field.name, value) for field, value in message.ListFields()}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        if not name.endswith('_compressed'):
            return np.frombuffer(value, np.uint8)
        matrix = getattr(messages(), _kind(name)).FromString(zlib.decompress(value))
        kind = np.float32 if _kind(name) == 'MatrixFloat' else np.int32
        return {'data': np.array(matrix.data, kind), 'shape': _values(matrix.shape)}
    if hasattr(value, 'ListFields'):
        return _values(value)
    return [_value(name, entry) for entry in value] if hasattr(value, 'append') or hasattr(value, 'add') else value


def _kind(name: str) -> str:
    return 'MatrixInt32' if name.startswith('camera_projection') else 'MatrixFloat'


def _set(message: Any, values: Any) -> None:
    """Set the fields of a message that fit."""
    for name, value in values.items() if isinstance(values, dict) else ():
        # What a message cannot hold is not in it.
        with contextlib.suppress(TypeError, ValueError, AttributeError):
            _set_field(message, name, value)


def _set_field(message: Any, name: str, value: Any) -> None:
    if name.endswith('_compressed') and isinstance(value, dict):
        matrix = getattr(messages(), _kind(name))()
        _set(matrix, value)
        setattr(message, name, zlib.compress(matrix.SerializePartialToString()))
        return
    field = getattr(message, name)
    if hasattr(field, 'ListFields'):
        field.SetInParent()
        _set(field, value)
    elif hasattr(field, 'add'):
        for entry in value:
            _set(field.add(), entry)
    elif hasattr(field, 'append'):
        field.extend(np.asarray(value).ravel().tolist())
    else:
        setattr(message, name, value.tobytes() if isinstance(value, np.ndarray) else value)
