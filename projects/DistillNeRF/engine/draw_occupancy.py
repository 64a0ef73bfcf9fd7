"""Draw predicted grids beside the labels of Occ3D-nuScenes, whoever predicted them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..evaluation.occupancy.confusion import ConfusionMatrix
from ..evaluation.occupancy.labels import Frame, match_frames, read_labels, read_prediction
from ..utils.errors import InputError
from ..utils.files import file_stems, require_writable
from ..visualization.occupancy_pictures import compare_from_above, write_grid_page
from ..visualization.panel_layout import write_png

# Frames that are drawn if nobody says how many.
PICTURED = 5


def check_pictures(folder: Path, count: int) -> None:
    """Refuse a folder that cannot be written to, and counts that mean nothing.

    Raises:
        InputError: one of both.
    """
    if count < 1:
        raise InputError(f'--pictured-frames is {count}; give 1 or more')
    require_writable(folder)


def draw_frames(
    labels: str | os.PathLike,
    predictions: str | os.PathLike,
    out: Path,
    mask: str | None = 'camera',
    count: int = PICTURED,
) -> Iterator[Path]:
    """Draw some frames, evenly spread; yield each file when it is written.

    Args:
        labels, predictions: folders, as those of :func:`.score_occupancy.score`.
        out: where ``SCENE_TOKEN.png`` and ``SCENE_TOKEN.html`` go.
        mask: voxels that count; the others are grayed.
        count: of how many frames; of all, if there are fewer.

    Raises:
        InputError: bad folders or files.
    """
    frames = match_frames(labels, predictions).frames
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int))
    stems = file_stems([f'{frame.scene}_{frame.token}' for frame in frames])
    for number in chosen:
        yield from _draw(frames[number], out / stems[number], mask)


def _draw(frame: Frame, stem: Path, mask: str | None) -> Iterator[Path]:
    """Draw one frame from above and as a page."""
    truth, prediction = read_labels(frame.labels, mask), read_prediction(frame.prediction)
    voxels = ConfusionMatrix()
    voxels.add(prediction, truth.semantics, truth.mask)
    scores = voxels.scores()
    title = f'{frame.scene} {frame.token}   IoU {100 * scores["iou"]:.1f} %, mIoU {100 * scores["miou"]:.1f} %'
    title += f', mask: {mask or "none"}'
    grids = {'prediction': prediction, 'truth': truth.semantics}
    picture, page = (stem.with_name(f'{stem.name}.{suffix}') for suffix in ('png', 'html'))
    write_png(picture, compare_from_above(grids, truth.mask, title))
    yield picture
    write_grid_page(page, grids, title)
    yield page
