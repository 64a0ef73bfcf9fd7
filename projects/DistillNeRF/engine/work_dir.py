"""The work folder of a training: one training at a time, and what runs before it left there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from mmengine.dist import is_main_process
from torch.utils.data import Dataset

from ..datasets.dataset import own_datasets
from ..models.checkpoint import checkpoints_in
from ..utils.errors import InputError, warn
from ..utils.files import save_json
from ..utils.provenance import file_digest

LOCK_NAME = 'training.lock'
# Digests of the info files that a run was trained on.
DATA_NAME = 'trained_on.json'


@contextlib.contextmanager
def training_in(work_dir: Path) -> Iterator[None]:
    """Keep other processes from training in ``work_dir`` while inside.

    The operating system holds the lock for this process, not for the workers of its loader, and gives it up when the
    process ends in any way: what a killed training left behind keeps nobody out.

    Raises:
        InputError: another process trains there; says which.
    """
    path = work_dir / LOCK_NAME
    file = _locked(path)
    if file is None:
        yield
        return
    with file:
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}')
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked(path: Path) -> TextIO | None:
    """Lock a file and return it; ``None`` where the file system has no locks.

    Raises:
        InputError: another process has it.
    """
    while True:
        file = path.open('a+')
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or 'another process'
            file.close()
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                warn(f'{path}: this file system has no locks ({error.strerror}): nobody notices a second training here')
                return None
            raise InputError(
                f'{path.parent}: {holder} trains here already, and both would write the same files; wait for its end, '
                'or give another --work-dir'
            ) from error
        # It may have been removed by a training that ended between the two steps.
        if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return file
        file.close()


def warn_of_earlier_run(work_dir: Path) -> None:
    """Warn that a training that begins anew writes over the checkpoints of an earlier one."""
    if found := checkpoints_in(work_dir):
        warn(
            f'{work_dir}: holds checkpoints of an earlier run, up to {found[0].name}; this run begins anew beside them '
            '(a later --resume takes the one that was trained longest); give --resume to go on, or another --work-dir'
        )


def remember_data(dataset: Dataset, work_dir: Path, resumed: bool) -> None:
    """Write digests of the info files to ``work_dir``; warn if a resumed run was trained on others.

    Only the main process does so.

    Args:
        dataset: the training data.
        work_dir: of the run.
        resumed: whether the run goes on from a checkpoint.
    """
    if not is_main_process():
        return
    path = work_dir / DATA_NAME
    now = {Path(part.ann_file).name: file_digest(Path(part.ann_file)) for part in own_datasets(dataset)}
    try:
        before = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        before = now
    if resumed and before != now:
        warn(
            f'{path}: the run that goes on was trained on other data than {", ".join(now)} of now; train again in '
            'another --work-dir if the difference matters'
        )
    save_json(path, now)
