"""Checks that nuScenes tables fit together: links lead there and back, and numbers of records are as stated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...utils.errors import InputError
from .common import DOWNLOAD_AGAIN

Record = Mapping[str, Any]
# What linked records have in common.
CHAINED = {'sample': 'scene_token', 'sample_data': 'calibrated_sensor_token', 'sample_annotation': 'instance_token'}


def check_links(tables: Mapping[str, Sequence[Record]], where: Path) -> None:
    """Check ``prev`` and ``next`` of samples, measurements and annotations, and the annotations of every instance.

    Args:
        tables: ``sample``, ``sample_data``, ``sample_annotation`` and ``instance``.
        where: folder of the tables, for messages.

    Raises:
        InputError: names the table and the first record that does not fit.
    """
    for name, shared in CHAINED.items():
        _check_chain(tables[name], shared, where / f'{name}.json')
    counts = Counter(record.get('instance_token') for record in tables['sample_annotation'])
    for record in tables['instance']:
        expected, found = record.get('nbr_annotations'), counts[record.get('token')]
        if expected != found:
            raise InputError(
                f'{where}/instance.json: {record.get("token")}: nbr_annotations is {expected!r}, and '
                f'sample_annotation.json has {found}; {DOWNLOAD_AGAIN}'
            )


def _check_chain(records: Sequence[Record], shared: str, path: Path) -> None:
    """Check tokens and links of one table, whose linked records have the field ``shared`` in common."""
    for record in records:
        if not isinstance(record.get('token'), str):
            raise InputError(f'{path}: a record has the token {record.get("token")!r}; {DOWNLOAD_AGAIN}')
    by_token = {record.get('token'): record for record in records}
    if len(by_token) < len(records):
        tokens = Counter(record.get('token') for record in records)
        raise InputError(f'{path}: two records have the token {tokens.most_common(1)[0][0]!r}; {DOWNLOAD_AGAIN}')
    used = {link for link in ('prev', 'next') if any(record.get(link) for record in records)}
    for record in records:
        for link, back in (('prev', 'next'), ('next', 'prev')):
            if not (token := record.get(link)):
                continue
            if not isinstance(token, str):
                raise InputError(f'{path}: {record.get("token")}: {link} is {token!r}, no token; {DOWNLOAD_AGAIN}')
            other = by_token.get(token)
            fits = other is not None and other.get(shared) == record.get(shared)
            # Some tables link one way only, and measurements before the first keyframe are found by prev alone.
            optional = back not in used or (shared == CHAINED['sample_data'] and link == 'prev')
            fits = fits and (other.get(back) == record.get('token') or (optional and not other.get(back)))
            if not fits:
                what = 'is not there' if other is None else f'has another {back} or {shared}'
                raise InputError(
                    f'{path}: {record.get("token")}: {link} leads to {token}, which {what}; {DOWNLOAD_AGAIN}'
                )
