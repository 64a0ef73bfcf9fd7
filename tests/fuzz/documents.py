"""Files as values that can be changed and written again: tables, pickles, arrays, points, pictures, checkpoints."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch

from tests.fuzz.waymo_values import read_values, write_values

POINT_COLUMNS = 5
# Bytes before the header of a cached file, with a space.
CHECKSUM_LENGTH = 9


def read(path: Path) -> Any:
    """The content of a valid file: nested dicts and lists, a ``DataFrame``, an array or tensors."""
    if path.suffix == '.json':
        return json.loads(path.read_text())
    if path.name.endswith('.pkl.gz'):
        return pd.read_pickle(path)
    if path.suffix == '.pkl':
        return pickle.loads(path.read_bytes())
    if path.suffix == '.npy':
        return np.load(path)
    if path.suffix == '.bin':
        return np.fromfile(path, np.float32).reshape(-1, POINT_COLUMNS)
    if path.suffix == '.pth':
        return torch.load(path, weights_only=True)
    if path.suffix == '.tfrecord':
        return read_values(path)
    if path.suffix == '.cache':
        header, _, content = path.read_bytes().partition(b'\n')
        checksum, header = header[:CHECKSUM_LENGTH], header[CHECKSUM_LENGTH:]
        return {
            'checksum': checksum.decode(),
            'header': json.loads(header),
            'content': np.frombuffer(content, np.uint8),
        }
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def write(path: Path, value: Any) -> None:
    """Write a changed content; the file is a new one, as the old one may be linked to from elsewhere."""
    path.unlink(missing_ok=True)
    if path.suffix == '.json':
        path.write_text(json.dumps(value))
    elif path.name.endswith('.pkl.gz'):
        pd.to_pickle(value, path)
    elif path.suffix == '.pkl':
        path.write_bytes(pickle.dumps(value))
    elif path.suffix == '.npy':
        np.save(path, value)
    elif path.suffix == '.bin':
        path.write_bytes(np.ascontiguousarray(value).tobytes())
    elif path.suffix == '.pth':
        torch.save(value, path)
    elif path.suffix == '.tfrecord':
        write_values(path, value)
    elif path.suffix == '.cache':
        path.write_bytes(_cached(value))
    elif not cv2.imwrite(str(path), value):
        raise ValueError(f'{path}: {value.dtype} {value.shape} is no picture')


def _cached(value: Any) -> bytes:
    """Bytes of a cached file, whose checksum is what ``value`` says."""
    if not isinstance(value, dict):
        return json.dumps(value).encode()
    checksum, header, content = (value.get(name) for name in ('checksum', 'header', 'content'))
    data = content.tobytes() if isinstance(content, np.ndarray) else json.dumps(content).encode()
    return f'{checksum}{json.dumps(header)}\n'.encode() + data
