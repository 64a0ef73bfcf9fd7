"""Draw the samples of a test whose figure is worst, and the median one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from ..datasets.dataset import own_datasets
from ..utils.errors import InputError
from ..utils.files import file_stems, require_writable
from ..visualization.panel_layout import write_png
from ..visualization.panels import panel
from .builders import build_dataset, prepare, runner_with_weights
from .machine import machine_failures

FOLDER = 'worst_samples'
# Figures by which samples are ranked: the first that they have; and whether more is better.
RANKED = {
    **{'psnr': True, 'next/psnr': True, 'novel/psnr': True, 'poses/psnr': True, 'feature/psnr': True},
    **{'abs_rel': False, 'lidar/abs_rel': False, 'teacher/abs_rel': False},
}


@dataclass(frozen=True)
class Chosen:
    """A sample to be drawn.

    Attributes:
        rank: how the name of its picture begins: ``worst_01``, ``median``.
        token: of the sample.
        figure: name of the figure that it was chosen by. value: of the sample.
    """

    rank: str
    token: str
    figure: str
    value: float

    @property
    def stem(self) -> str:
        """Return the name of its picture, without suffix."""
        return f'{self.rank} {self.token} {self.figure} {self.value:.3f}'


def check_panels(count: int, checkpoint: str | None) -> None:
    """Refuse what cannot be drawn: no samples, or those of weights that are drawn again.

    Raises:
        InputError: one of both.
    """
    if count < 1:
        raise InputError(f'--panels {count}: nothing to draw; give 1 or more, or leave it away')
    if checkpoint is None:
        raise InputError('--panels renders samples again, but random weights would be others then; give a checkpoint')


def choose_samples(samples: Sequence[Mapping[str, Any]], count: int) -> list[Chosen]:
    """Return the worst samples, the worst first, and the median one (of an even number, the worse in the middle).

    Args:
        samples: token and figures of each.
        count: how many of the worst.

    Raises:
        InputError: no sample has a figure to rank by.
    """
    figure = next((name for name in RANKED if any(name in sample for sample in samples)), None)
    if figure is None:
        raise InputError(
            f'--panels ranks samples by {", ".join(RANKED)}, but none was measured; evaluate psnr or depth'
        )
    known = [sample for sample in samples if figure in sample]
    ranked = sorted(known, key=lambda sample: sample[figure] if RANKED[figure] else -sample[figure])
    picked = [(f'worst_{rank:02d}', sample) for rank, sample in enumerate(ranked[:count], 1)]
    picked.append(('median', ranked[(len(ranked) - 1) // 2]))
    return [Chosen(rank, sample['token'], figure, sample[figure]) for rank, sample in picked]


@torch.no_grad()
def draw_worst(
    config: Config,
    checkpoint: str | None,
    work_dir: Path,
    samples: Sequence[Mapping[str, Any]],
    count: int,
    precision: str,
) -> Iterator[Path]:
    """Render the worst samples and the median one again, and draw them into ``work_dir/worst_samples``.

    Pictures of an earlier test there are removed.

    Args:
        config: as loaded.
        checkpoint: its file; ``None`` for random weights.
        work_dir: of the test.
        samples: of the test (:class:`.evaluate.Evaluation`).
        count: how many of the worst.
        precision: of the network (:mod:`..utils.precision`).

    Yields:
        each file when it is written.

    Raises:
        InputError: no sample has a figure to rank by, or the test data has samples that cannot be found by token.
    """
    chosen = choose_samples(samples, count)
    folder = require_writable(Path(work_dir) / FOLDER)
    for rank in ('worst_*', 'median*'):
        for old in folder.glob(f'{rank}.png'):
            old.unlink()
    datasets = own_datasets(build_dataset(config, 'test'))
    places = {part.get_token(index): (part, index) for part in datasets for index in range(len(part))}
    if unknown := [one.token for one in chosen if one.token not in places]:
        raise InputError(f'--panels finds no sample {unknown[0]} in the test data; it draws DistillNeRFDataset alone')
    model = runner_with_weights(prepare(config, work_dir), checkpoint, precision).model
    model.eval()
    stems = file_stems([one.stem for one in chosen])
    with machine_failures(config, 'test_dataloader'):
        for one, stem in zip(chosen, stems, strict=True):
            dataset, index = places[one.token]
            (sample,) = model.test_step(pseudo_collate([dataset[index]]))
            fields = sample.to_dict()
            title = ' '.join(str(fields[key]) for key in ('scene', 'frame') if key in fields)
            title = f'{title}  {one.rank}: {one.figure} {one.value:.3f}'
            path = folder / f'{stem}.png'
            write_png(path, panel(fields['input_views'], fields['target_views'], fields, title))
            yield path
