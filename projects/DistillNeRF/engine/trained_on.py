"""Which data a run was trained on, so that it does not go on unnoticed with others."""

from __future__ import annotations

import json
from pathlib import Path

from mmengine.dist import is_main_process
from torch.utils.data import Dataset

from ..utils.errors import warn
from ..utils.files import save_json
from ..utils.provenance import file_digest
from .supply import parts

FILE_NAME = 'trained_on.json'


def remember_data(dataset: Dataset, work_dir: Path, resumed: bool) -> None:
    """Write digests of the info files to ``work_dir``; say so if a resumed run was trained on others.

    Args:
        dataset: the training data.
        work_dir: of the run.
        resumed: whether the run goes on from a checkpoint.
    """
    path = work_dir / FILE_NAME
    now = {Path(part.ann_file).name: file_digest(Path(part.ann_file)) for part in parts(dataset)}
    try:
        before = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        before = now
    if resumed and before != now:
        warn(
            f'{path}: the run that goes on was trained on other data than {", ".join(now)} of now; train again in '
            'another --work-dir if the difference matters'
        )
    if is_main_process():
        save_json(path, now)
