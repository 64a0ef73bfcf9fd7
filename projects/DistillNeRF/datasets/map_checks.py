"""What the teacher made, or truth and features, for the records of a dataset: checked, or counted and warned of."""

from __future__ import annotations

from collections.abc import Sequence

from ..utils.errors import InputError, warn
from .availability import Availability, describe_missing
from .file_checks import MAP_HINTS, check_virtual_views, count_maps, count_virtual_views, missing_virtual_features
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


def require_virtual_views(
    infos: Sequence[Info], cameras: Sequence[str], names: Sequence[str], root: str, skip_missing: bool, ann_file: str
) -> None:
    """Check that the files of virtual views exist, or warn where they may be missing.

    Args:
        infos: the records of the samples.
        cameras: names of the cameras that are loaded.
        names: names of the views.
        root: folder of the teacher.
        skip_missing: warn of what is missing instead of stopping, if there is anything at all.
        ann_file: info file, for messages.

    Raises:
        InputError: files are missing, and may not be, or there are none.
    """
    if not skip_missing:
        check_virtual_views(infos, cameras, names, root)
        return
    views = count_virtual_views(infos, cameras, names, root)
    if not views.there:
        raise InputError(
            f'{ann_file}: the teacher has no virtual view of any of its samples in {root}; '
            f'{MAP_HINTS["teacher"]}, or leave virtual_img_target_smart_sample'
        )
    if views.missing:
        warn(f'{ann_file}: {views.missing} of {views.total} images have no virtual view: no such targets')


def require_virtual_features(
    infos: Sequence[Info], cameras: Sequence[str], names: Sequence[str], root: str, skip_missing: bool, ann_file: str
) -> None:
    """Check that the features of virtual views exist, or warn where they may be missing.

    Args:
        infos: the records of the samples.
        cameras: names of the cameras that are loaded.
        names: names of the views.
        root: folder of the features.
        skip_missing: warn of what is missing instead of stopping.
        ann_file: info file, for messages.

    Raises:
        InputError: files are missing, and may not be.
    """
    missing, total = missing_virtual_features(infos, cameras, names, root)
    if missing and not skip_missing:
        raise InputError(
            f'{missing[0]}: no such file (nor {len(missing) - 1} more of {total}), so there are no features of virtual '
            'views; make them with tools/extract_features.py --teacher DIR, or tools/render_scene_nerf.py, leave '
            'load_features or virtual_img_target_smart_sample'
        )
    if missing:
        warn(f'{ann_file}: {len(missing)} of {total} features of virtual views are missing: NaN instead')
