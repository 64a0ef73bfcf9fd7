"""Print what weights there are or a config needs, and get them (:mod:`..foundation_models.downloads`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..foundation_models.catalog import CATALOG, FOLDER, Weights, named
from ..foundation_models.downloads import get
from ..foundation_models.placing import status
from .needed_weights import Need


def catalog_lines(root: Path) -> Iterator[str]:
    """Yield a table of all weights: what is there is compared with its record."""
    rows = [('name', 'about MB', 'license', 'in its place', 'for')]
    rows += [(one.name, f'{one.megabytes:,}', one.license, status(one, root).kind, one.about) for one in CATALOG]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        yield '  '.join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]])


def need_lines(config: str, needs: Sequence[Need], root: Path) -> Iterator[str]:
    """Yield a line for each of the weights that a config needs."""
    if not needs:
        yield f'{config}: needs no weights of other networks'
    for need in needs:
        asked = f'{"needs" if need.required else "may use"} {need.path} ({need.key})'
        if need.entry is None:
            there = 'there' if Path(need.path).expanduser().exists() else 'missing'
            yield f'{config}: {asked}: your own, {there}'
        else:
            yield f'{config}: {asked}: {need.entry.name}, {status(need.entry, root).kind}'


def chosen(names: Sequence[str], needs: Sequence[Need]) -> list[Weights]:
    """Return the entries to get: the named ones, then what a config cannot do without, each once.

    Raises:
        InputError: no such name.
    """
    entries = [named(name) for name in names]
    entries += [need.entry for need in needs if need.required and need.entry is not None]
    return list(dict.fromkeys(entries))


def get_all(entries: Sequence[Weights], root: Path = Path(FOLDER), folder: Path | None = None) -> Iterator[str]:
    """Get one entry after the other; yield lines for the user.

    Raises:
        InputError: whatever is in the way; what came before is complete.
    """
    for entry in entries:
        yield from get(entry, root, folder)
