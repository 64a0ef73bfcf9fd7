"""Which reader the files of a segment need: v1's TFRecords or v2's Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ....utils.errors import InputError
from . import v1, v2
from .components import IMAGE, POSE
from .frames import Frame, Wanted


class Reader(Protocol):
    """What a module that reads a format offers; the path of a segment is one of :meth:`find_files`."""

    def find_files(self, root: Path) -> list[Path]:
        """Return a file of each segment below a folder."""

    def source_files(self, path: Path) -> list[Path]:
        """Return all files that a segment is read from."""

    def split_folder(self, path: Path) -> str:
        """Return the name of the folder that may tell the split of a segment."""

    def segment_name(self, path: Path) -> str:
        """Read the name of a segment from its files."""

    def count_frames(self, path: Path) -> int:
        """Count the frames of a segment."""

    def frame_label(self, path: Path, number: int, timestamp: float) -> str:
        """Return what messages call a frame."""

    def read_frames(self, path: Path, wanted: Wanted, every: int = 1) -> Iterator[tuple[int, Frame]]:
        """Yield number and content of each ``every``-th frame."""


def reader(path: Path) -> Reader:
    """Return the reader of a segment's file."""
    return v2 if path.suffix == v2.SUFFIX else v1


def find_files(root: Path) -> list[Path]:
    """Return a file of each segment below a folder, all of one format.

    Raises:
        InputError: none, or both formats; v1, whose messages are not installed.
    """
    records, images = v1.find_files(root), v2.find_files(root)
    if records and images:
        raise InputError(
            f'{root}: holds TFRecords ({records[0]}), which are v1, and Parquet files ({images[0]}), which are v2; '
            'give the folder of one of them'
        )
    if not records and not images:
        raise InputError(
            f'{root}: holds no *{v1.SUFFIX} and no {IMAGE.folder}/*{v2.SUFFIX}; give the folder of the TFRecords of '
            f'Waymo v1, or that of {IMAGE.folder}, {POSE.folder} and the others of v2'
        )
    if records:
        v1.messages()
    return records or images
