"""Name metrics by groups of views, and print them as a table of plain text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from rich.box import Box
from rich.console import Console
from rich.table import Table

from ..geometry.views import Views

# For rich: nothing around and between cells, and a line below the header.
HEADER_LINE = Box('    \n    \n -- \n' + 5 * '    \n', ascii=True)
UNITS = {'psnr': 'dB', 'psnr_recolored': 'dB', 'rmse': 'm', 'sq_rel': 'm'}


def table(columns: Mapping[str, Mapping[str, float | str]], rows: Sequence[str], corner: str = 'metric') -> str:
    """Format a table with a column per result and a row per metric; metrics that a result has not stay empty."""
    header = [corner, *map(label, columns)]
    body = [[label(row), *(_figure(values.get(row)) for values in columns.values())] for row in rows]
    return text_table(header, body)


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """Lay out rows of text below a header and a line.

    Args:
        header, rows: as many texts each.
        left: positions of the columns that are aligned to the left; the others are to the right.
    """
    laid_out = Table(box=HEADER_LINE, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for position, name in enumerate(header):
        laid_out.add_column(name, justify='left' if position in left else 'right', no_wrap=True)
    for row in rows:
        laid_out.add_row(*row)
    # Any width, whatever the terminal: a table may go to a file.
    console = Console(width=100_000, color_system=None, markup=False, emoji=False)
    with console.capture() as text:
        console.print(laid_out)
    return '\n'.join(line.rstrip() for line in text.get().splitlines())


def compare(
    model: Mapping[str, float],
    baselines: Mapping[str, float],
    intervals: Mapping[str, Sequence[float]] | None = None,
) -> str:
    """Format the model's figures, their intervals where there are some, and those of the baselines, as a table.

    Args:
        model: its figures.
        baselines: theirs, as ``NAME/psnr``, ``NAME/next/psnr``.
        intervals: lower and upper bounds of figures of the model.
    """
    bounds = {name: f'{low:.3f} to {high:.3f}' for name, (low, high) in (intervals or {}).items()}
    columns: dict[str, Mapping[str, float | str]] = {'model': model, **({'95 %': bounds} if bounds else {})}
    return table(columns | columns_of(baselines), list(model))


def columns_of(baselines: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Sort figures ``NAME/psnr``, ``NAME/next/psnr`` of baselines by their names."""
    columns: dict[str, dict[str, float]] = {}
    for name, value in baselines.items():
        baseline, _, figure = name.partition('/')
        columns.setdefault(baseline, {})[figure] = value
    return columns


def label(metric: str) -> str:
    """Return the name of a metric with its unit."""
    unit = UNITS.get(metric.rsplit('/', 1)[-1])
    return f'{metric} [{unit}]' if unit else metric


def _figure(value: float | str | None) -> str:
    """Return a cell of the table; empty for ``None``."""
    if value is None or isinstance(value, str):
        return value or ''
    return f'{value:.3f}'


FRAME_NAMES = {0: '', 1: 'next', -1: 'previous'}


def view_groups(input_views: Views, target_views: Views) -> dict[str, list[int]]:
    """Return the positions of the target views of each group.

    ``''``: views that are also inputs (reconstruction); ``virtual``: the same instant from a camera that is no
    input; ``next``, ``previous``, ``frame+2``, ...: other instants.
    """
    seen = set(zip(input_views.names, input_views.frames, strict=True))
    groups: dict[str, list[int]] = {}
    for position, view in enumerate(zip(target_views.names, target_views.frames, strict=True)):
        frame = view[1]
        name = FRAME_NAMES.get(frame, f'frame{frame:+d}')
        if frame == 0 and view not in seen:
            name = 'virtual'
        groups.setdefault(name, []).append(position)
    return groups


def places(positions: Sequence[int]) -> slice | list[int]:
    """Return positions as an index of tensors and views: those that follow each other as a slice, which copies nothing.

    Args:
        positions: from 0 on.
    """
    first, last = (positions[0], positions[-1] + 1) if positions else (0, 0)
    return slice(first, last) if list(positions) == list(range(first, last)) else list(positions)


def key(*parts: str) -> str:
    """Join the parts that are not empty by ``/``: ``key('next', 'psnr') == 'next/psnr'``."""
    return '/'.join(part for part in parts if part)
