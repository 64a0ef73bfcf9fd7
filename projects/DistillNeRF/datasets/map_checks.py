"""What the teacher made, or truth and features, for the records of a dataset: checked, or counted and warned of."""

from __future__ import annotations

from collections.abc import Sequence

from ..utils.errors import InputError, warn
from .availability import Availability, describe_missing
from .file_checks import MAP_HINTS, count_maps
from .infos import Info


def available_maps(
    infos: Sequence[Info], cameras: Sequence[str], root: str, kind: str, skip_missing: bool, ann_file: str
) -> dict[str, Availability]:
    """Count the maps of one kind, by name.

    Args:
        infos: the records that are loaded.
        cameras: names of the cameras that are loaded.
        root: folder of the maps.
        kind: ``teacher``, ``truth`` or ``features``.
        skip_missing: warn of what is missing instead of stopping.
        ann_file: info file, for messages.

    Raises:
        InputError: files are missing, and may not be.
    """
    counts, example = count_maps(infos, cameras, root, kind)
    missing, total = sum(part.missing for part in counts.values()), sum(part.total for part in counts.values())
    if not missing:
        return counts
    if not skip_missing:
        raise InputError(
            f'{example}: no such file (and {missing - 1} more of {total} are missing); {MAP_HINTS[kind]}, '
            'or set skip_missing=True in the dataset config to go on without'
        )
    parts = f' ({describe_missing(counts)})' if len(counts) > 1 else ''
    warn(f'{ann_file}: {missing} of {total} {kind} files are missing{parts}: NaN instead')
    return counts
