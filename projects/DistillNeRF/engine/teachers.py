"""Open the teacher of a scene; export what it sees and write its report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings
from tqdm import tqdm

from ..apis import to_device
from ..configuration.config import building
from ..scene_nerf import report
from ..scene_nerf.drive import Drive
from ..scene_nerf.export import FEATURES, VIEWS, ExportOptions, Made, Task, export, make_views, provenance
from ..scene_nerf.report import ReportOptions, write_report
from ..scene_nerf.settings import SceneSettings, read_settings
from ..scene_nerf.teacher import Teacher
from ..utils.errors import InputError
from ..utils.files import file_stems, is_folder, require_file
from ..utils.processes import process_pool
from ..utils.provenance import fingerprint
from ..visualization.video import require_video

FIELD, LIDAR = 'scene_nerf', 'lidar'
METHODS = (FIELD, LIDAR)
REPORTS = 'reports'
# What the LiDAR teacher and the report make in another version is made again.
LIDAR_VERSION, REPORT_VERSION = 2, 3


@dataclass(frozen=True)
class TeacherSource:
    """Where a teacher comes from; processes open it by themselves.

    Attributes:
        config: as loaded.
        checkpoint: of the field; None for a teacher that needs no training.
        method: one of :data:`METHODS`.
        device: where the field is rendered; None for the processor.
    """

    config: Config
    checkpoint: str | None
    method: str = FIELD
    device: str | None = None

    def settings(self) -> SceneSettings:
        """Return what the config says about the drive."""
        return read_settings(self.config, str(self.config.filename))

    def check(self) -> None:
        """Check that a checkpoint is there if one is needed, and none if not; and the device.

        Raises:
            InputError: otherwise.
        """
        if self.method == LIDAR:
            if self.checkpoint is not None:
                raise InputError(f'{self.checkpoint}: --method lidar is not trained; give None for the checkpoint')
            require_field(self.method, self.device)
        elif self.checkpoint is None:
            raise InputError(
                'the checkpoint is None, but a field has to be trained; give one that tools/train.py wrote, or '
                '--method lidar'
            )
        else:
            require_file(self.checkpoint, 'give a checkpoint that tools/train.py wrote')
            if self.device is not None:
                to_device(torch.empty(0), self.device)

    def fingerprint(self, drive: Drive) -> str:
        """Return a digest of what the teacher was made from."""
        settings = self.settings()
        own_car = {
            camera: fingerprint(where=Path(car.where) if isinstance(car.where, str) else car.where)
            for camera, car in settings.own_car.items()
        }
        if self.checkpoint is not None:
            return fingerprint(method=self.method, checkpoint=Path(self.checkpoint), own_car=own_car)
        excluded = settings.holdout_lidar_frames
        sweeps = {
            f'sweep{number}': fingerprint(
                file=Path(sweep.path),
                pose=sweep.lidar2scene,
                time=sweep.timestamp,
                origins=sweep.origins,
                sensor_column=sweep.sensor_column,
                time_column=sweep.time_column,
                origins_velocity=sweep.origins_velocity,
                origins_delay=sweep.origins_delay,
            )
            for number, sweep in enumerate(drive.sweeps)
            if require_file(sweep.path, 'restore the LiDAR file or convert the data again')
        }
        return fingerprint(
            method=self.method, version=LIDAR_VERSION, excluded=list(excluded), own_car=own_car, **sweeps
        )

    def open(self) -> Teacher:
        """Load the teacher."""
        if self.method == LIDAR:
            # Imported when it is asked for, as the field is: each needs what the other does not.
            from ..scene_nerf.lidar_teacher import LidarTeacher

            settings = self.settings()
            return LidarTeacher.from_drive(settings.drive(), exclude_frames=settings.holdout_lidar_frames)
        from ..scene_nerf.model import load_teacher

        with building(self.config):
            teacher = load_teacher(self.config, self.checkpoint)
        if self.device is not None:
            teacher.field = to_device(teacher.field, self.device)
        return teacher


def require_field(method: str, device: str | None) -> None:
    """Refuse a device for a teacher that is drawn by the processor.

    Raises:
        InputError: both are given.
    """
    if method == LIDAR and device is not None:
        raise InputError(f'--device {device}: --method {LIDAR} is drawn by the processor; leave one of the two away')


def export_scene(
    source: TeacherSource,
    out: Path,
    views: Sequence[str] = VIEWS,
    size: tuple[int, int] | None = None,
    workers: int = 1,
    with_report: bool = True,
) -> list[str]:
    """Export the scene of a config with its teacher, and write the report about it to ``OUT/reports/SCENE``.

    Args:
        source: the teacher.
        out: the teacher root.
        views: names of the views.
        size: (height, width) of the files; None for that of the config.
        workers: processes; each opens the teacher.
        with_report: whether there is a report.

    Returns:
        a line about the files, and one about the report.

    Raises:
        InputError: bad input at any step.
    """
    if workers < 1:
        raise InputError(f'--workers is {workers}; give 1 or more')
    source.check()
    settings = source.settings()
    if settings.features is not None and Path(settings.features).resolve() == (out / FEATURES).resolve():
        raise InputError(
            f'{out / FEATURES}: has the features that were learned, and would get others; choose another --out'
        )
    drive = settings.drive()
    folder = out / REPORTS / file_stems([drive.scene])[0]
    if with_report:
        require_video(folder / report.VIDEO)
    options = ExportOptions(out, source.fingerprint(drive), size or settings.image_size, tuple(views))
    teacher = _Once(source)
    summary = export(drive, options, partial(_render, teacher, options, workers))
    lines = [f'{out}: scene {drive.scene}: {summary.line()}']
    if with_report:
        asked = ReportOptions(
            settings.image_size,
            settings.holdout_frames,
            settings.holdout_lidar_frames,
            f'Teacher ({source.method})',
            {} if source.checkpoint is None else training_curves(Path(source.checkpoint).parent),
            features=settings.features,
        )
        lines.append(_report(folder, teacher, drive, asked, options))
    return lines


class _Once:
    """Open a teacher when it is needed, once."""

    def __init__(self, source: TeacherSource) -> None:
        self.source = source
        self._teacher: Teacher | None = None

    def __call__(self) -> Teacher:
        if self._teacher is None:
            self._teacher = self.source.open()
        return self._teacher


def _render(teacher: _Once, options: ExportOptions, workers: int, tasks: Sequence[Task]) -> Iterator[list[Made]]:
    """Make the views of tasks, in this process or in several."""
    yield from tqdm(_made(teacher, options, min(workers, len(tasks)), tasks), 'export', len(tasks), unit='image')


def _made(teacher: _Once, options: ExportOptions, workers: int, tasks: Sequence[Task]) -> Iterable[list[Made]]:
    if workers < 2:
        return (make_views(teacher(), options, task) for task in tasks)
    return _in_processes(teacher.source, options, workers, tasks)


def _in_processes(
    source: TeacherSource, options: ExportOptions, workers: int, tasks: Sequence[Task]
) -> Iterator[list[Made]]:
    threads = max(1, torch.get_num_threads() // workers)
    with process_pool(workers, _begin, source, options, threads) as pool:
        try:
            yield from pool.map(_make_next, tasks)
        finally:
            pool.shutdown(cancel_futures=True)


# What a worker process does with a task.
_WORK: list[Callable[[Task], list[Made]]] = []


def _begin(source: TeacherSource, options: ExportOptions, threads: int) -> None:
    torch.set_num_threads(threads)
    # Loading the config imported these in the first process.
    if imports := source.config.get('custom_imports'):
        import_modules_from_strings(**imports)
    teacher = _Once(source)
    # The teacher is opened by the first task: an error of an initializer would lose its message.
    _WORK[:] = [lambda task: make_views(teacher(), options, task)]


def _make_next(task: Task) -> list[Made]:
    return _WORK[0](task)


def _report(folder: Path, teacher: _Once, drive: Drive, asked: ReportOptions, options: ExportOptions) -> str:
    """Write the report, unless it is there and current; return a line about it."""
    described = {name: str(value) for name, value in vars(asked).items() if value is not None}
    source = fingerprint(version=REPORT_VERSION, teacher=options.teacher, **described)
    made_from = provenance(options.out, drive.scene)
    files = [folder / name for name in (report.JSON, report.PAGE, report.VIDEO)]
    if all(made_from.is_current(file, source) for file in files):
        return f'kept {folder / report.PAGE}'
    write_report(folder, teacher(), drive, asked)
    made_from.record_all((file, source) for file in files)
    return f'wrote {folder / report.PAGE}'


def training_curves(work_dir: Path, names: Sequence[str] = ('psnr', 'loss')) -> dict[str, list[tuple[float, float]]]:
    """Read what a training logged: steps and values by name; empty without logs."""
    curves: dict[str, dict[float, float]] = {}
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')) if is_folder(work_dir) else ():
        for line in file.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # cut while it was written
                continue
            for name in names:
                if isinstance(entry.get(name), int | float) and 'step' in entry:
                    curves.setdefault(name, {})[entry['step']] = float(entry[name])
    return {name: sorted(curve.items()) for name, curve in curves.items()}
