"""Measure predicted occupancy with many settings of what counts as occupied; each scene is reconstructed once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import torch
from mmengine.config import Config
from tqdm import tqdm

from ..apis import init_model, reconstruct
from ..datasets.dataset import DistillNeRFDataset, own_datasets
from ..evaluation.occupancy.counts import Counts
from ..evaluation.occupancy.from_scene import GridSampling, classes_of, finish_grid
from ..evaluation.occupancy.labels import read_labels
from ..evaluation.occupancy.scene_voxels import SceneVoxels
from ..evaluation.occupancy.voxel_classes import Semantics, VoxelClassifier
from ..evaluation.report import text_table
from ..geometry.views import Views
from ..models.network import DistillNeRF
from ..utils.errors import InputError, warn
from ..utils.files import atomic_path, is_file, require_writable, save_json
from ..utils.precision import DEFAULT
from .builders import build_dataset
from .machine import prepare_processor
from .occupancy_options import option

FIGURES = {
    'iou': 'IoU',
    'miou': 'mIoU',
    'miou_star': 'mIoU*',
    'ray_iou': 'RayIoU',
    'all_voxels/iou': 'IoU, all voxels',
    'all_voxels/miou': 'mIoU, all voxels',
}


@dataclass(frozen=True)
class Sweep:
    """The settings that are tried, every density with every lattice and every dilation.

    Attributes:
        lattices, min_densities, dilations: as in :class:`..evaluation.occupancy.from_scene.GridSampling`.
    """

    lattices: Sequence[int]
    min_densities: Sequence[float]
    dilations: Sequence[int]

    def check(self) -> None:
        """Refuse settings that mean nothing.

        Raises:
            InputError: there is one, or one is given twice.
        """
        for name in ('lattices', 'min_densities', 'dilations'):
            values = list(getattr(self, name))
            # Options of the command are in the singular.
            single = option({'min_densities': 'min_density'}.get(name, name.removesuffix('s')))
            if twice := [value for value in dict.fromkeys(values) if values.count(value) > 1]:
                raise InputError(f'{single} has {twice[0]} twice; give each once')
        for sampling in self.samplings():
            sampling.check(option)

    def samplings(self) -> list[GridSampling]:
        """Return all settings, the lattice changing slowest, the density fastest."""
        every = itertools.product(self.lattices, self.dilations, sorted(self.min_densities))
        return [GridSampling(lattice, density, dilation) for lattice, dilation, density in every]


@dataclass
class SweepCounts:
    """What was counted with each setting, in how many samples.

    Attributes:
        by_sampling: of each setting.
        samples: that have labels.
        missing: label files of the others.
    """

    by_sampling: dict[GridSampling, Counts]
    samples: int = 0
    missing: list[Path] = field(default_factory=list)


def sweep_occupancy(
    config: Config,
    checkpoint: str | None,
    sweep: Sweep,
    semantics: Semantics,
    mask: str | None,
    ray_iou: bool,
    device: str,
    precision: str = DEFAULT,
) -> dict[str, Any]:
    """Return the figures of every setting on the test data, as JSON can hold them.

    Args:
        config: as loaded.
        checkpoint: its file; ``None`` for random weights.
        sweep: the settings.
        semantics: what tells classes.
        mask: voxels that count: ``camera``, ``lidar``; None: all voxels alone.
        ray_iou: RayIoU, too; it needs classes.
        device, precision: of the network.

    Raises:
        InputError: anything wrong with the settings, the model or the data; no sample has labels.
    """
    sweep.check()
    if ray_iou and semantics.kind == 'none':
        raise InputError('--ray-iou compares classes; give --semantics, too, or leave it away')
    datasets = own_datasets(build_dataset(config, 'test'))
    if all(dataset.gts is None for dataset in datasets):
        raise InputError(
            f'{config.filename}: its test data names no occupancy labels; say where they are with '
            '--cfg-options test_dataloader.dataset.gts=DIR'
        )
    prepare_processor()
    network = init_model(config, checkpoint, device, precision)
    classifier = VoxelClassifier(semantics, network.head, config.filename, option)
    counts = SweepCounts({sampling: Counts() for sampling in sweep.samplings()})
    for dataset, number in _labeled(datasets, counts):
        _count_sample(network, dataset, number, sweep, classifier, mask, ray_iou, counts)
    if not counts.samples:
        raise InputError(f'{counts.missing[0]}: no such file, nor labels of any other sample; correct the option gts')
    if counts.missing:
        total = counts.samples + len(counts.missing)
        warn(f'{counts.missing[0]}: no occupancy labels; {len(counts.missing)} of {total} samples have none')
    rows = [
        {
            'lattice': sampling.lattice,
            'min_density': sampling.min_density,
            'dilation': sampling.dilation,
            'figures': found.figures(with_classes=semantics.kind != 'none'),
        }
        for sampling, found in counts.by_sampling.items()
    ]
    return {
        'config': str(config.filename),
        'checkpoint': checkpoint,
        'samples': counts.samples,
        'without_labels': len(counts.missing),
        'semantics': str(semantics),
        'mask': mask or 'none',
        'settings': rows,
    }


def _labeled(datasets: Sequence[DistillNeRFDataset], counts: SweepCounts) -> Iterator[tuple[DistillNeRFDataset, int]]:
    """Yield every sample that has labels; note the others."""
    with tqdm(desc='occupancy', total=sum(map(len, datasets)), unit='sample') as bar:
        for dataset in datasets:
            for number in range(len(dataset)):
                labels = None if dataset.gts is None else dataset.occupancy(number).labels
                if labels is not None and is_file(labels):
                    counts.samples += 1
                    yield dataset, number
                else:
                    counts.missing.append(labels or Path(dataset.get_token(number)))
                bar.update()


@torch.no_grad()
def _count_sample(
    network: DistillNeRF,
    dataset: DistillNeRFDataset,
    number: int,
    sweep: Sweep,
    classifier: VoxelClassifier,
    mask: str | None,
    ray_iou: bool,
    counts: SweepCounts,
) -> None:
    """Count one sample with all settings: densities and classes are computed once per lattice."""
    record = dataset.occupancy(number)
    truth = read_labels(record.labels, mask)
    origins = (record.origins if truth.origins is None else truth.origins) if ray_iou else None
    views: Views = dataset[number]['inputs']['input_views']
    scene = reconstruct(network, views)
    classify = classifier.of_sample(views, dataset.label_maps_of(number))
    pose = torch.from_numpy(record.ego2lidar)
    for lattice in sweep.lattices:
        every = SceneVoxels.find(scene, pose, lattice, min(sweep.min_densities))
        classes = classes_of(every, classify)
        for density in sweep.min_densities:
            voxels, kept = every.at_least(density)
            grid = voxels.grid(classes[kept])
            for dilation in sweep.dilations:
                found = counts.by_sampling[GridSampling(lattice, density, dilation)]
                found.add(finish_grid(grid, dilation), truth, origins)


def write_sweep(result: dict[str, Any], out: Path) -> list[Path]:
    """Write ``sweep.json``, ``sweep.md`` and ``sweep.html``, the curves; return the files."""
    require_writable(out)
    files = [out / f'sweep.{suffix}' for suffix in ('json', 'md', 'html')]
    save_json(files[0], result, indent=2)
    with atomic_path(files[1]) as temporary:
        temporary.write_text(_markdown(result))
    with atomic_path(files[2]) as temporary:
        sweep_curves(result).write_html(temporary, include_plotlyjs=True, full_html=True)
    return files


def as_text(result: dict[str, Any]) -> str:
    """Format the figures in percent, below how they were measured, and the best setting of each."""
    head, rows = _cells(result)
    return '\n'.join([_protocol(result), '', text_table(head, rows), '', *_best(result)])


def sweep_curves(result: dict[str, Any]) -> go.Figure:
    """Draw every figure over the density, a line per lattice and dilation; one figure shows at a time."""
    names = _shown(result)
    chart = go.Figure()
    lines = dict.fromkeys((row['lattice'], row['dilation']) for row in result['settings'])
    for name in names:
        for lattice, dilation in lines:
            rows = [row for row in result['settings'] if (row['lattice'], row['dilation']) == (lattice, dilation)]
            chart.add_scatter(
                x=[row['min_density'] for row in rows],
                y=[None if name not in row['figures'] else 100 * row['figures'][name] for row in rows],
                mode='lines+markers',
                name=f'lattice {lattice}, dilation {dilation}',
                visible=name == names[0],
            )
    buttons = [
        {
            'label': FIGURES[name],
            'method': 'update',
            'args': [
                {'visible': [shown == name for shown in names for _ in lines]},
                {'yaxis.title.text': f'{FIGURES[name]} [%]'},
            ],
        }
        for name in names
    ]
    chart.update_layout(
        title=_protocol(result),
        xaxis={'title': 'smallest density of an occupied voxel [1/m]', 'type': 'log'},
        yaxis={'title': f'{FIGURES[names[0]]} [%]' if names else '', 'rangemode': 'tozero'},
        showlegend=True,
        updatemenus=[{'buttons': buttons, 'x': 1.0, 'xanchor': 'right', 'y': 1.15}],
    )
    return chart


def _protocol(result: dict[str, Any]) -> str:
    return (
        f'{result["samples"]} samples ({result["without_labels"]} without labels left out); classes: '
        f'{result["semantics"]}; mask: {result["mask"]}'
    )


def _shown(result: dict[str, Any]) -> list[str]:
    """Return the figures that any setting has."""
    return [name for name in FIGURES if any(name in row['figures'] for row in result['settings'])]


def _cells(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    names = _shown(result)
    head = ['lattice', 'dilation', 'min density [1/m]', *(f'{FIGURES[name]} [%]' for name in names)]
    rows = []
    for row in result['settings']:
        figures = [row['figures'].get(name, math.nan) for name in names]
        shown = ['' if math.isnan(value) else f'{100 * value:.2f}' for value in figures]
        rows.append([str(row['lattice']), str(row['dilation']), f'{row["min_density"]:g}', *shown])
    return head, rows


def _markdown(result: dict[str, Any]) -> str:
    head, rows = _cells(result)
    lines = [f'| {" | ".join(cells)} |' for cells in (head, ['---'] * len(head), *rows)]
    return '\n'.join([_protocol(result), '', *lines, '', *_best(result)]) + '\n'


def _best(result: dict[str, Any]) -> list[str]:
    """Say which setting is the best of each figure."""
    lines = []
    for name in _shown(result):
        best = max(result['settings'], key=lambda row: row['figures'].get(name, -1.0))
        lines.append(
            f'best {FIGURES[name]}: {100 * best["figures"][name]:.2f} % with lattice {best["lattice"]}, dilation '
            f'{best["dilation"]}, min density {best["min_density"]:g}'
        )
    return [*lines, 'choose settings on other scenes than those that you report']
