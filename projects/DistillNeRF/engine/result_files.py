"""Write what a test found: JSON with everything, CSV with a row per figure, Markdown with the table."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..evaluation.parts import KINDS, parts, split_key
from ..evaluation.report import columns_of, label, table
from ..utils.errors import InputError
from ..utils.files import atomic_path, require_writable, save_json
from .evaluate import Evaluation


@dataclass(frozen=True)
class Results:
    """What a test found, and what it is compared with.

    Attributes:
        about: config, checkpoint, commit, machine, ...: what the figures were made with.
        found: figures of the model.
        baselines: ``NAME/FIGURE`` -> value.
        paper: columns of the paper for this config (:func:`..evaluation.paper.paper_columns`); empty if it has none.
    """

    about: Mapping[str, Any]
    found: Evaluation
    baselines: Mapping[str, float]
    paper: Mapping[str, Mapping[str, float]]

    @property
    def compared(self) -> dict[str, float]:
        """Return what stands beside the model's figures in a table: the paper, then baselines."""
        paper = {f'{column}/{name}': value for column, one in self.paper.items() for name, value in one.items()}
        return paper | dict(self.baselines)


def check_results_path(path: Path) -> None:
    """Check, before the work, that results can be written to a file.

    Raises:
        InputError: no such kind of file, or nothing can be written there.
    """
    if path.suffix not in WRITERS:
        raise InputError(f'{path}: --out writes {", ".join(WRITERS)}; give the file one of these endings')
    require_writable(path.parent)


def write_results(path: Path, results: Results) -> None:
    """Write results to a file, in the format that its ending says."""
    WRITERS[path.suffix](path, results)


def tables_of_parts(figures: Mapping[str, float]) -> list[str]:
    """Format figures of parts as a table of text per kind, a column per part."""
    texts = []
    for kind in KINDS:
        columns: dict[str, dict[str, float | str]] = {}
        for name, value in parts(figures, kind).items():
            figure, _, part = split_key(name)
            columns.setdefault(part, {})[figure] = value
        rows = list(dict.fromkeys(figure for column in columns.values() for figure in column))
        if rows:
            texts.append(table(columns, rows, corner=f'by {kind}'))
    return texts


def _write_json(path: Path, results: Results) -> None:
    """Write all figures, and those of each sample."""
    found = results.found
    content = {
        **results.about,
        **{'model': found.figures, 'parts': found.parts, 'intervals': found.intervals},
        **{'baselines': dict(results.baselines), 'paper': {}},
        **{re.sub(r'\W', '_', column): dict(one) for column, one in results.paper.items()},
        **{'samples': found.samples},
        'protocol': found.protocol,
    }
    save_json(path, content, indent=2)


def _write_csv(path: Path, results: Results) -> None:
    """Write a row per figure, of everything and of parts, with all digits; what is not known stays empty."""
    found = results.found
    others = columns_of(results.compared)
    with atomic_path(path) as temporary, temporary.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['figure', 'by', 'part', 'value', 'lower', 'upper', *others])
        for name, value in (found.figures | found.parts).items():
            bounds = found.intervals.get(name, ('', ''))
            beside = [column.get(name, '') for column in others.values()]
            writer.writerow([*split_key(name), value, *bounds, *beside])


def _write_markdown(path: Path, results: Results) -> None:
    """Write what the figures were made with, and the table; then one per kind of parts."""
    found = results.found
    others = columns_of(results.compared)
    header = ['metric', 'model', '95 %', *others]
    rows = []
    for name, value in found.figures.items():
        bounds = found.intervals.get(name)
        interval = '' if bounds is None else '{:.3f} to {:.3f}'.format(*bounds)
        rows.append([label(name), f'{value:.3f}', interval, *(_cell(column.get(name)) for column in others.values())])
    lines = ['  \n'.join(f'{name}: {_one_line(value)}' for name, value in results.about.items()), '']
    lines += markdown_table(header, rows)
    if results.paper:
        lines += [
            '',
            'paper: DistillNeRF (NeurIPS 2024), as published for this config; other data compare with it in no way.',
        ]
    for kind in KINDS:
        if of_kind := parts(found.parts, kind):
            body = [_part_row(name, value, found.intervals.get(name)) for name, value in of_kind.items()]
            lines += ['', *markdown_table([kind, 'metric', 'model', '95 %'], body, left=2)]
    with atomic_path(path) as temporary:
        temporary.write_text('\n'.join(lines) + '\n')


def _part_row(name: str, value: float, bounds: Sequence[float] | None) -> list[str]:
    figure, _, part = split_key(name)
    return [part, label(figure), f'{value:.3f}', '' if bounds is None else '{:.3f} to {:.3f}'.format(*bounds)]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Return the lines of a table; all columns but the first ``left`` are aligned to the right."""
    rule = ['---' if number < left else '---:' for number in range(len(header))]
    cells = [[cell.replace('|', '\\|') for cell in row] for row in (header, rule, *rows)]
    return [f'| {" | ".join(row)} |' for row in cells]


def _cell(value: float | None) -> str:
    return '' if value is None else f'{value:.3f}'


def _one_line(value: Any) -> str:
    return ' '.join(str(value).split())


# Ending of a file -> what writes it.
WRITERS: dict[str, Callable[[Path, Results], None]] = {
    '.json': _write_json,
    '.csv': _write_csv,
    '.md': _write_markdown,
}
