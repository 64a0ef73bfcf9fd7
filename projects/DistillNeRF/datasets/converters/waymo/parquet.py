"""Read one Parquet file of Waymo Open Dataset v2: a component of a segment, whose rows have keys.

Rows come in any order. Small components are read at once (:func:`read_table`). Of those of the sensors, the keys are
read first, then their rows a few at a time (:class:`RowStream`), so that what is held is the compressed columns of a
row group, and rows that stand before those of an earlier frame.
"""

from __future__ import annotations

import pickle
import zlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ....utils.errors import InputError
from ....utils.files import require_file
from ..common import DOWNLOAD_AGAIN
from .components import Component

SUFFIX = '.parquet'
SEGMENT = 'key.segment_context_name'
# How many rows of a sensor are decoded at a time, and how many are held as they are; more are held compressed.
BATCH_ROWS, PLAIN_ROWS = 5, 32
# How many of a small component are decoded at a time.
TABLE_ROWS = 4096
Key = tuple[Any, ...]
Row = dict[str, Any]
KeyedRow = tuple[Key, Row]


class ComponentFile:
    """A component of one segment.

    Attributes:
        path: the file.
        component: what it holds.
        segment: name of the segment, of its first row; None in a file without rows.
        keys: of each row, as :attr:`Component.keys` has them.
    """

    def __init__(self, path: Path, component: Component, hint: str = DOWNLOAD_AGAIN) -> None:
        """Open a file and read the keys of its rows.

        Args:
            path: the file.
            component: what it should hold.
            hint: what to do if it is not there.

        Raises:
            InputError: no file, a damaged one, a column that it lacks, a row without key or of another segment.
        """
        self.path, self.component = require_file(path, hint), component
        with self._errors():
            # A stream: column by column, a piece at a time rather than whole.
            self._file = pq.ParquetFile(path, buffer_size=1 << 20, page_checksum_verification=True)
        names = [SEGMENT, *(f'key.{key}' for key in component.keys)]
        there = set(self._file.schema_arrow.names)
        needed = [*names, *component.named(component.columns + component.nullable)]
        if lacking := [name for name in needed if name not in there]:
            raise InputError(f'{path}: has no column {lacking[0]}, as {component.folder} of v2 has; {DOWNLOAD_AGAIN}')
        with self._errors():
            segments, *parts = (part.to_pylist() for part in self._file.read(names, use_threads=False).columns)
        self.segment: str | None = segments[0] if segments else None
        self.keys: list[Key] = list(zip(*parts, strict=True)) if parts else [()] * len(segments)
        for number, (segment, key) in enumerate(zip(segments, self.keys, strict=True)):
            if segment is None or None in key:
                raise InputError(f'{path}: row {number}: lacks a part of its key; {DOWNLOAD_AGAIN}')
            if segment != self.segment:
                raise InputError(
                    f'{path}: row {number}: is of segment {segment}, not of {self.segment} as those before; '
                    f'{DOWNLOAD_AGAIN}'
                )

    def rows(self, wanted: Collection[Key], columns: Sequence[str], at_a_time: int = BATCH_ROWS) -> Iterator[KeyedRow]:
        """Yield the rows of some keys, in the order of the file.

        Args:
            wanted: their keys; row groups without any are not read.
            columns: of :attr:`Component.columns` and :attr:`Component.nullable`.
            at_a_time: how many rows are decoded at a time.

        Raises:
            InputError: damaged data.
        """
        sizes = [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]
        starts = np.cumsum([0, *sizes])
        groups = [
            group
            for group, size in enumerate(sizes)
            if any(key in wanted for key in self.keys[starts[group] : starts[group] + size])
        ]
        for group in groups:
            number = int(starts[group])
            with self._errors(f'row {number} or after'):
                names = self.component.named(columns)
                for batch in self._file.iter_batches(at_a_time, [group], names, use_threads=False):
                    for index in range(batch.num_rows):
                        if (key := self.keys[number]) in wanted:
                            yield key, self._row(batch, index, columns, number)
                        number += 1

    def require_unique_keys(self) -> None:
        """Check that no two rows have the same keys.

        Raises:
            InputError: names the second.
        """
        seen = set()
        for number, key in enumerate(self.keys):
            if key in seen:
                raise InputError(f'{self.path}: row {number}: has the same keys as a row before; {DOWNLOAD_AGAIN}')
            seen.add(key)

    def _row(self, batch: pa.RecordBatch, index: int, columns: Sequence[str], number: int) -> Row:
        """Return a row of a batch; ``number`` is its number in the file."""
        row = {}
        for name, full in zip(columns, self.component.named(columns), strict=True):
            where = f'{self.path}: row {number}'
            row[name] = _value(batch[full][index], f'{where}: {name}')
            if row[name] is None and name not in self.component.nullable:
                raise InputError(f'{where}: lacks {name}; {DOWNLOAD_AGAIN}')
        return row

    @contextmanager
    def _errors(self, where: str = '') -> Iterator[None]:
        """Tell of damaged files as such."""
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            reason = ' '.join(str(error).split()).rstrip('.')
            label = f'{self.path}: {where}: ' if where else f'{self.path}: '
            raise InputError(f'{label}cannot be read ({reason}); {DOWNLOAD_AGAIN}') from error


def read_table(file: ComponentFile, unique: bool = True) -> list[KeyedRow]:
    """Read all rows of a small component, and their keys, in the order of the file.

    Args:
        file: the file.
        unique: whether to refuse two rows of the same keys.

    Raises:
        InputError: damaged data.
    """
    if unique:
        file.require_unique_keys()
    columns = file.component.columns + file.component.nullable
    return list(file.rows(set(file.keys), columns, TABLE_ROWS))


class RowStream:
    """The rows of a sensor's component, by their time stamps, in whatever order the file has them.

    Each is read once. Rows that come before their time are held, compressed if there are many.
    """

    def __init__(self, file: ComponentFile, wanted: Collection[Key], columns: Sequence[str]) -> None:
        """Choose rows.

        Args:
            file: the file; its keys are time stamp and sensor.
            wanted: keys of the rows that will be taken; those that are not there are ignored.
            columns: to read.

        Raises:
            InputError: two rows of one key.
        """
        file.require_unique_keys()
        chosen = {key for key in file.keys if key in wanted}
        self._counts = Counter(time for time, _ in chosen)
        self._rows = file.rows(chosen, columns)
        self._held: dict[int, dict[int, Row | bytes]] = defaultdict(dict)
        self._plain = 0

    def take(self, time: int) -> dict[int, Row]:
        """Return the rows of a time stamp by the numbers of their sensors; once for each time stamp.

        Raises:
            InputError: damaged data.
        """
        while len(self._held[time]) < self._counts[time]:
            (when, sensor), row = next(self._rows)
            soon = when == time or self._plain < PLAIN_ROWS
            self._held[when][sensor] = row if soon else zlib.compress(pickle.dumps(row), 1)
            self._plain += soon
        rows = self._held.pop(time)
        self._plain -= sum(not isinstance(row, bytes) for row in rows.values())
        return {
            sensor: pickle.loads(zlib.decompress(row)) if isinstance(row, bytes) else row
            for sensor, row in rows.items()
        }


def _value(scalar: pa.Scalar, where: str) -> Any:
    """Return a value: an array of its own of a list of numbers, None of what is null, else a Python value."""
    if not scalar.is_valid:
        return None
    if not isinstance(scalar, (pa.ListScalar, pa.LargeListScalar, pa.FixedSizeListScalar)):
        return scalar.as_py()
    if scalar.values.null_count:
        raise InputError(f'{where}: lacks {scalar.values.null_count} of its numbers; {DOWNLOAD_AGAIN}')
    return np.array(scalar.values.to_numpy(zero_copy_only=False))
