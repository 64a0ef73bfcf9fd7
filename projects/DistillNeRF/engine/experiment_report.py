"""What an experiment found: one table with mean and spread, all figures as JSON, and the curves of the trainings."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ..utils.files import atomic_path, save_json
from .experiment import Experiment, Run, finished
from .teachers import training_curves

# What runs share if they can be compared.
SHARED = ('commit', 'torch', 'machine', 'device', 'threads')


def write_report(runs: Sequence[Run], experiment: Experiment, work_dir: Path) -> str:
    """Write ``table.md``, ``results.json`` and ``curves.html``; return the table."""
    found = finished(runs)
    text = table(found, experiment.columns)
    if experiment.compare_with is not None:
        text += '\n\n' + differences(found, experiment.columns, experiment.compare_with)
    with atomic_path(work_dir / 'table.md') as temporary:
        temporary.write_text(text + '\n')
    save_json(work_dir / 'results.json', found, indent=2)
    _write_curves(runs, work_dir / 'curves.html')
    return text


def table(found: Mapping[str, Sequence[Mapping[str, Any]]], columns: Mapping[str, str]) -> str:
    """Return Markdown: mean and standard deviation over the seeds, and what all were made with.

    Args:
        found: results of each name, one per seed.
        columns: header -> key of the figures, with a row per name; empty: all figures, a row each, a column per name.
    """
    every = [result for results in found.values() for result in results]
    keys = list(dict.fromkeys(key for result in every for key in result['figures']))
    shown = dict(columns) or {key: key for key in keys}
    rows = [['run', 'seeds', *shown, 'training']]
    for name, results in found.items():
        cells = [spread([result['figures'].get(key) for result in results]) for key in shown.values()]
        times = [result['training_s'] for result in results if result['training_s'] is not None]
        time = f'{np.mean(times) / 60:.1f} min' if times else ''
        rows.append([name.replace('|', '\\|'), str(len(results)), *cells, time])
    if not columns:
        rows = list(map(list, zip(*rows, strict=True)))
    lines = _markdown(rows)
    if absent := [header for header, key in shown.items() if every and key not in keys]:
        lines += ['', f'No run has a figure for: {", ".join(absent)}.']
    return '\n'.join([*lines, '', *_made_with(every)])


def differences(found: Mapping[str, Sequence[Mapping[str, Any]]], columns: Mapping[str, str], base: str) -> str:
    """Return Markdown: how much more each run has than ``base`` from the same seed, mean and standard deviation.

    A pair of runs shares the samples of the training and their order, so differences spread less than figures.
    """
    ours = {result['seed']: result['figures'] for result in found[base]}
    shown = dict(columns) or {key: key for figures in ours.values() for key in figures}
    rows = [[f'compared with {base}', 'seeds', *shown]]
    for name, results in found.items():
        pairs = [(result['figures'], ours[result['seed']]) for result in results if result['seed'] in ours]
        if name != base:
            cells = [_difference([(one.get(key), other.get(key)) for one, other in pairs]) for key in shown.values()]
            rows.append([name.replace('|', '\\|'), str(len(pairs)), *cells])
    return '\n'.join(_markdown(rows))


def _difference(pairs: Sequence[tuple[float | None, float | None]]) -> str:
    """Return mean and spread of differences, with the digits that :func:`spread` gives the figures."""
    known = [(one, other) for one, other in pairs if one is not None and other is not None]
    if not pairs or len(known) < len(pairs):
        return ''
    digits = 2 if abs(np.mean(known)) >= 10 else 3
    values = [one - other for one, other in known]
    text = f'{np.mean(values):+.{digits}f}'
    return text if len(values) == 1 else f'{text} ± {np.std(values, ddof=1):.{digits}f}'


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose first row is its header."""
    lines = [f'| {" | ".join(row)} |' for row in rows]
    return [lines[0], f'|{" --- |" * len(rows[0])}', *lines[1:]]


def spread(values: Sequence[float | None]) -> str:
    """Return mean and standard deviation (of a sample); nothing if one of the values is not there."""
    if not values or any(value is None for value in values):
        return ''
    digits = 2 if abs(np.mean(values)) >= 10 else 3
    text = f'{np.mean(values):.{digits}f}'
    return text if len(values) == 1 else f'{text} ± {np.std(values, ddof=1):.{digits}f}'


def _made_with(every: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what the results were made with; a line of its own for what differs between them."""
    lines = []
    for key in SHARED:
        values = list(dict.fromkeys(str(result.get(key)) for result in every))
        if values and values != ['None']:
            lines.append(f'{key}: {values[0]}' if len(values) == 1 else f'**{key} differs**: {", ".join(values)}')
    return ['  \n'.join(lines)]


def _write_curves(runs: Sequence[Run], path: Path) -> None:
    """Draw loss and PSNR of all trainings."""
    logged = {run: training_curves(run.folder) for run in runs}
    charts = []
    for quantity in ('loss', 'psnr'):
        figure = go.Figure(layout={'title': quantity, 'xaxis_title': 'step', 'yaxis_title': quantity})
        for run, values in logged.items():
            steps = values.get(quantity, [])
            name = html.escape(f'{run.name}, seed {run.seed}')
            figure.add_trace(go.Scatter(x=[step for step, _ in steps], y=[value for _, value in steps], name=name))
        charts.append(figure.to_html(full_html=False, include_plotlyjs=not charts))
    with atomic_path(path) as temporary:
        temporary.write_text(f'<!doctype html><meta charset="utf-8"><title>curves</title>{"".join(charts)}')
