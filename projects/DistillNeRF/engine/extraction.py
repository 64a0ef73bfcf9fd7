"""Make files from the images of info files: read, compute in batches, write, all at the same time; go on later.

What is computed is up to :class:`Stages`. Files get their names when they are whole. Beside them, in the output folder,

- ``NAME.json`` has the settings that they were made with; an extraction with others is refused.
- ``NAME.files/*.jsonl`` has a line for every file: its size, and the size and the time of the image that it was made
  from. A file whose line or image differs, or that has none, is made again. Every process appends to a file of its
  own, so that several can work on one folder.
"""

from __future__ import annotations

import json
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from tqdm import tqdm

from ..datasets.image_files import read_image
from ..datasets.infos import Info, load_infos
from ..datasets.teacher_files import ORIGINAL_VIEW, virtual_view_files
from ..utils.errors import InputError, warn
from ..utils.files import read_json, require_file, require_writable, save_json

# Threads that read images, at most, unless more are asked for.
MOST_WORKERS = 4
RESTORE = 'restore the image, or say where the images are with --root'


@dataclass(frozen=True)
class ImageTask:
    """One image, and the files to make from it.

    Attributes:
        image: its file.
        files: the files to make, below the output folder, by kind.
        info: record of its keyframe.
        camera: its name.
        view: :data:`ORIGINAL_VIEW`, or a view that a teacher rendered.
        info_file: where the record is from.
    """

    image: Path
    files: Mapping[str, str]
    info: Info
    camera: str
    view: str
    info_file: Path


# Names the files to make: from the record of an image and the name of the view to paths below the output folder.
NameFiles = Callable[[Mapping[str, Any], str], Mapping[str, str]]


def list_tasks(
    info_files: Sequence[str | Path],
    name_files: NameFiles,
    root: Path | None = None,
    views: Sequence[str] = (ORIGINAL_VIEW,),
    teacher: Path | None = None,
    cameras: Sequence[str] | None = None,
    skip_missing: bool = False,
) -> list[ImageTask]:
    """List the images of info files, each once, in their order.

    Args:
        info_files: their paths.
        name_files: names the files to make from an image; a KeyError or ValueError means that a record names none.
        root: folder of the images; None: that of each info file.
        views: the original one, and views that a teacher rendered.
        teacher: root of the teacher, for its views.
        cameras: those that are taken; None: all of each info file.
        skip_missing: leave out images that are not there, with a warning, rather than raise.

    Raises:
        InputError: an info file that cannot be read or names no such camera or files, views without a teacher, or no
            image at all.
    """
    if teacher is None and set(views) != {ORIGINAL_VIEW}:
        raise InputError('views that a teacher rendered need its root; give it with --teacher')
    tasks: dict[Path, ImageTask] = {}
    for info_file in map(Path, info_files):
        metainfo, infos = load_infos(info_file)
        known = metainfo['cameras']
        if missing := [camera for camera in cameras or () if camera not in known]:
            raise InputError(f'{info_file}: has no camera {", ".join(missing)}; it has {", ".join(known)}')
        for info in infos:
            for camera in cameras or known:
                for view in views:
                    image = info['images'][camera]
                    try:
                        file = _image_file(image, view, root or info_file.parent, teacher)
                        files = name_files(image, view)
                    except (KeyError, ValueError) as error:
                        raise InputError(
                            f'{info_file}: sample {info["token"]}, {camera}: names no files in the layout of '
                            f'docs/DATA.md ({error}); convert the data again with tools/create_data.py'
                        ) from error
                    tasks.setdefault(file, ImageTask(file, files, info, camera, view, info_file))
    _require_own_files(tasks.values())
    return _with_images(list(tasks.values()), skip_missing)


def _require_own_files(tasks: Iterable[ImageTask]) -> None:
    """Refuse images that would have one file: it would be that of the last."""
    owners: dict[str, ImageTask] = {}
    for task in tasks:
        for file in task.files.values():
            if (other := owners.setdefault(file, task)) is not task:
                raise InputError(
                    f'{task.info_file}: {task.image} and {other.image} would have one file, {file}; extract them into '
                    'folders of their own'
                )


def _with_images(tasks: list[ImageTask], skip_missing: bool) -> list[ImageTask]:
    """Return the tasks whose images are there."""
    missing = [task for task in tasks if not task.image.is_file()]
    if missing and (not skip_missing or len(missing) == len(tasks)):
        require_file(missing[0].image, f'{RESTORE} (of {len(tasks)} images {len(missing)} are missing)')
    if missing:
        warn(f'{missing[0].image}: no such image; {len(missing)} of {len(tasks)} are missing and left out')
    return [task for task in tasks if task.image.is_file()] if missing else tasks


def _image_file(image: Mapping[str, Any], view: str, root: Path, teacher: Path | None) -> Path:
    """Return the file of an image, as recorded or as a teacher rendered it."""
    if view == ORIGINAL_VIEW:
        return root / image['img_path']
    assert teacher is not None
    return teacher / virtual_view_files(image['teacher'], view)['rgb']


def read_task_image(task: ImageTask) -> np.ndarray:
    """Read the image of a task: ``(H, W, 3)`` uint8 RGB, as it is stored.

    Raises:
        InputError: a damaged image, one of another size than its record says, or a view of a teacher in another shape.
    """
    image = read_image(task.image)
    record = task.info['images'][task.camera]
    (height, width), recorded = image.shape[:2], (record['height'], record['width'])
    # A teacher renders in any size of the camera's shape, in whole pixels.
    fits = (height, width) == recorded
    if task.view != ORIGINAL_VIEW:
        fits = abs(width / recorded[1] * recorded[0] - height) <= 1
    if not fits:
        raise InputError(
            f'{task.image}: the image is {width}x{height}, the record of its camera says {recorded[1]}x{recorded[0]}; '
            'restore the image, or convert the data again with tools/create_data.py'
        )
    return np.ascontiguousarray(image[..., ::-1])


class Loaded(NamedTuple):
    """One image as it is read.

    Attributes:
        pixels: an array; those of a batch have one shape.
        more: anything else that writing needs.
    """

    pixels: np.ndarray
    more: Any = None


@dataclass(frozen=True)
class Stages:
    """What is done with every image. The first and the last run in threads beside the second.

    Attributes:
        load: reads an image.
        compute: of ``(N, ...)`` pixels, N results.
        write: writes the files of an image (:func:`target`), atomically; what it returns is handed out.
    """

    load: Callable[[ImageTask], Loaded]
    compute: Callable[[np.ndarray], Sequence[Any]]
    write: Callable[[ImageTask, Any, Any], Any]


def usual_workers() -> int:
    """Return how many threads read images by default: one per core beside that of the model.

    On two cores a second one takes time from the model: a tenth to a fifth of its speed.
    """
    return max(1, min(MOST_WORKERS, len(os.sched_getaffinity(0)) - 1))


@dataclass(frozen=True)
class ExtractionOptions:
    """Where files go, and how.

    Attributes:
        out: output folder.
        name: of the settings file.
        settings: everything that the files depend on, as JSON; an empty mapping is not allowed.
        batch: images that are computed at once.
        workers: threads that read images; as many write; :func:`usual_workers` by default.
        part: (k, n): the k-th of n parts of the tasks, from 0.
        progress: whether there is a progress bar.
    """

    out: Path
    name: str
    settings: Mapping[str, Any]
    batch: int = 8
    workers: int = field(default_factory=usual_workers)
    part: tuple[int, int] = (0, 1)
    progress: bool = True

    @property
    def settings_file(self) -> Path:
        """Return the file of the settings."""
        return self.out / f'{self.name}.json'


@dataclass
class Extraction:
    """What an extraction did.

    Attributes:
        written, kept: images whose files were made, and were there.
        values: what :attr:`Stages.write` returned for the written ones, with their tasks.
    """

    written: int = 0
    kept: int = 0
    values: list[tuple[ImageTask, Any]] = field(default_factory=list)


def extract(tasks: Sequence[ImageTask], stages: Stages, options: ExtractionOptions) -> Extraction:
    """Make the files of all images that are missing or stale; go on where an earlier run stopped.

    Raises:
        InputError: files made with other settings, files that no extraction made, or a missing or damaged image.
    """
    claim(tasks, options)
    own = part_of(tasks, options.part)
    made = MadeFiles(options)
    stale = [task for task in own if not made.is_current(task)]
    result = Extraction(kept=len(own) - len(stale))
    if not stale:
        return result
    with made:
        steps = run_stages(stale, stages, options.batch, options.workers)
        shown = tqdm(steps, options.name, len(own), initial=result.kept, unit='image', disable=not options.progress)
        for task, value in shown:
            made.record(task)
            result.written += 1
            result.values.append((task, value))
    return result


def part_of(tasks: Sequence[ImageTask], part: tuple[int, int]) -> Sequence[ImageTask]:
    """Return part k of n, from 0: of nearly the same size, without overlap."""
    number, count = part
    return tasks[len(tasks) * number // count : len(tasks) * (number + 1) // count]


def claim(tasks: Sequence[ImageTask], options: ExtractionOptions) -> None:
    """Write the settings beside the output, or compare them with those that are there.

    Raises:
        InputError: they differ, or there are none, but files that would be written.
    """
    path = options.settings_file
    settings = json.loads(json.dumps(options.settings))
    if path.is_file():
        before = read_json(path, f'remove the files of {options.out}, or choose another output folder')
        if before == settings:
            return
        # One that stopped before its first file does not bind the next.
        if any(file.stat().st_size for file in MadeFiles(options).folder.glob('*.jsonl')):
            raise InputError(f'{path}: {_difference(before, settings)}; choose another --out, or remove this folder')
    refuse_foreign(tasks, options)
    save_json(path, settings, indent=1)


def refuse_foreign(tasks: Sequence[ImageTask], options: ExtractionOptions) -> None:
    """Refuse a folder that cannot be written, or with files that no extraction made. Ask before long work.

    Raises:
        InputError: names it, or the first such file.
    """
    require_writable(options.out)
    for task in () if options.settings_file.is_file() else tasks:
        for file in task.files.values():
            if (options.out / file).exists():
                raise InputError(
                    f'{options.out / file}: is there, and no {options.settings_file.name} says how it was made; '
                    'choose another --out'
                )


def _difference(before: Any, now: Mapping[str, Any]) -> str:
    """Say in what settings differ."""
    if not isinstance(before, dict):
        return 'holds no settings'
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    told = (f'{name} {json.dumps(before.get(name))}, not {json.dumps(now.get(name))}' for name in names)
    return f'its files were made with {", ".join(told)}'


class MadeFiles:
    """Which files were made from which images; appends as a context.

    Args:
        options: of the extraction.
    """

    def __init__(self, options: ExtractionOptions) -> None:
        self.out, self.folder = options.out, options.out / f'{options.name}.files'
        self._known: dict[str, dict[str, Any]] = {}
        for path in sorted(self.folder.glob('*.jsonl'), key=lambda path: path.stat().st_mtime_ns):
            for line in path.read_text(errors='replace').splitlines():
                # The last line of a run that was killed may be cut: its file is made again.
                try:
                    entry = json.loads(line)
                    self._known[entry['file']] = entry
                except (ValueError, TypeError, KeyError):
                    continue
        self._stream: TextIO | None = None

    def is_current(self, task: ImageTask) -> bool:
        """Return whether all files of an image are there, whole and made from this image."""
        image = _stamp(require_file(task.image, RESTORE))
        for name in task.files.values():
            entry, path = self._known.get(name), self.out / name
            if entry is None or entry.get('image') != image:
                return False
            if not path.is_file() or path.stat().st_size != entry.get('size'):
                return False
        return True

    def record(self, task: ImageTask) -> None:
        """Note that the files of an image are written."""
        assert self._stream is not None
        image = _stamp(task.image)
        for name in task.files.values():
            if not (self.out / name).is_file():
                continue  # nothing is known of this image: the next run tries again
            entry = {'file': name, 'size': (self.out / name).stat().st_size, 'image': image}
            self._stream.write(json.dumps(entry) + '\n')
        self._stream.flush()

    def __enter__(self) -> MadeFiles:
        """Open the file of this process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stream = (self.folder / f'{socket.gethostname()}-{os.getpid()}.jsonl').open('a')
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        assert self._stream is not None
        self._stream.close()


def _stamp(image: Path) -> list[int]:
    """Return the size and the time of an image file."""
    status = image.stat()
    return [status.st_size, status.st_mtime_ns]


def target(options: ExtractionOptions, task: ImageTask, kind: str) -> Path:
    """Return the file of a kind to write for an image."""
    return options.out / task.files[kind]


def run_stages(tasks: Sequence[ImageTask], stages: Stages, batch: int, workers: int) -> Iterator[tuple[ImageTask, Any]]:
    """Read, compute and write images at the same time; yield each whose files are written, and what writing returned.

    Images whose pixels have one shape are computed together, ``batch`` at once. Only a few batches are in memory.
    An error of any stage ends all of them and is raised here.
    """
    limit = 2 * batch
    waiting: deque[tuple[ImageTask, Future]] = deque()
    readers, writers = ThreadPoolExecutor(workers, 'read'), ThreadPoolExecutor(workers, 'write')
    try:
        for group in _batches(_read_ahead(tasks, stages.load, readers, limit + workers), batch):
            results = stages.compute(np.stack([loaded.pixels for _, loaded in group]))
            for (task, loaded), result in zip(group, results, strict=True):
                waiting.append((task, writers.submit(stages.write, task, loaded.more, result)))
            while waiting and (len(waiting) > limit or waiting[0][1].done()):
                task, future = waiting.popleft()
                yield task, future.result()
        for task, future in waiting:
            yield task, future.result()
    finally:
        for pool in (readers, writers):
            pool.shutdown(wait=True, cancel_futures=True)


def _read_ahead(
    tasks: Sequence[ImageTask], load: Callable[[ImageTask], Loaded], readers: ThreadPoolExecutor, ahead: int
) -> Iterator[tuple[ImageTask, Loaded]]:
    """Yield tasks with their images, in order; some are read ahead."""
    pending: deque[tuple[ImageTask, Future]] = deque()
    rest = iter(tasks)
    while True:
        while len(pending) < ahead and (task := next(rest, None)) is not None:
            pending.append((task, readers.submit(load, task)))
        if not pending:
            return
        task, future = pending.popleft()
        yield task, future.result()


def _batches(images: Iterable[tuple[ImageTask, Loaded]], batch: int) -> Iterator[list[tuple[ImageTask, Loaded]]]:
    """Yield images of one shape together, as soon as there are ``batch`` of them; at the end, what is left."""
    groups: dict[tuple, list[tuple[ImageTask, Loaded]]] = {}
    for task, loaded in images:
        key = (*loaded.pixels.shape, loaded.pixels.dtype)
        groups.setdefault(key, []).append((task, loaded))
        if len(groups[key]) == batch:
            yield groups.pop(key)
    yield from groups.values()
