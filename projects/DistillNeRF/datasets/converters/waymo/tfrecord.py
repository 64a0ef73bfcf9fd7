"""The framing of TFRecord files: length, checksum of the length, data, checksum of the data.

Checksums are CRC-32C, turned and shifted so that those of data that hold checksums are no special case
(https://www.tensorflow.org/tutorials/load_data/tfrecord).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import google_crc32c

from ....utils.errors import InputError
from ....utils.files import require_file
from ..common import DOWNLOAD_AGAIN

_HEADER, _FOOTER = struct.Struct('<QI'), struct.Struct('<I')
_MASK_DELTA = 0xA282EAD8
_32_BITS = 0xFFFFFFFF


def masked_crc(data: bytes) -> int:
    """Compute the masked CRC-32C of some bytes."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & _32_BITS


def frame_record(data: bytes) -> bytes:
    """Return a record as it stands in a file."""
    length = struct.pack('<Q', len(data))
    return length + _FOOTER.pack(masked_crc(length)) + data + _FOOTER.pack(masked_crc(data))


def record_label(path: Path, number: int) -> str:
    """Return what messages call a record of a file; the first is number 0."""
    return f'{path}: record {number}'


def count_records(path: Path) -> int:
    """Count the records of a file by their lengths, without reading their data.

    Raises:
        InputError: no such file, no record, a length that its checksum contradicts, or a file that ends too soon.
    """
    size, position, count = require_file(path, DOWNLOAD_AGAIN).stat().st_size, 0, 0
    with path.open('rb') as file:
        while position < size:
            position += _HEADER.size + _read_length(file.read(_HEADER.size), path, count) + _FOOTER.size
            if position > size:
                raise _cut_short(path, count)
            file.seek(position)
            count += 1
    return count


def read_records(path: Path, every: int = 1) -> Iterator[tuple[int, bytes]]:
    """Yield number and data of each ``every``-th record of a file; the data of the others are skipped.

    Raises:
        InputError: names the file and the record that is cut short or contradicts its checksums.
    """
    number = 0
    with require_file(path, DOWNLOAD_AGAIN).open('rb') as file:
        while header := file.read(_HEADER.size):
            length = _read_length(header, path, number)
            if number % every:
                file.seek(length + _FOOTER.size, 1)
            else:
                yield number, _read_data(file.read(length), file.read(_FOOTER.size), length, path, number)
            number += 1


def _read_length(header: bytes, path: Path, number: int) -> int:
    if len(header) < _HEADER.size:
        raise _cut_short(path, number)
    length, crc = _HEADER.unpack(header)
    if crc != masked_crc(header[:8]):
        raise InputError(
            f'{record_label(path, number)}: the checksum of its length (CRC-32C) is wrong: damaged, or no TFRecord; '
            f'{DOWNLOAD_AGAIN}'
        )
    return length


def _read_data(data: bytes, footer: bytes, length: int, path: Path, number: int) -> bytes:
    if len(data) < length or len(footer) < _FOOTER.size:
        raise _cut_short(path, number)
    if _FOOTER.unpack(footer)[0] != masked_crc(data):
        raise InputError(f'{record_label(path, number)}: the checksum of its data (CRC-32C) is wrong; {DOWNLOAD_AGAIN}')
    return data


def _cut_short(path: Path, number: int) -> InputError:
    return InputError(f'{record_label(path, number)}: is cut short; {DOWNLOAD_AGAIN}')
