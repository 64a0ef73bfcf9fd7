"""Train and export the teachers of many scenes, each in processes of its own, here or as the jobs of a cluster."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mmengine.config import Config

from ..scene_nerf.settings import scenes_of
from ..utils.errors import InputError, warn
from ..utils.files import atomic_path, file_stems, require_writable
from .resuming import newest_checkpoint
from .teachers import FIELD
from .tool_runs import run_tool, threads_for

CONFIG, LOG = 'scene.py', 'teacher.log'
LAUNCHERS = ('none', 'slurm')
# Jobs of a cluster at once.
MOST_JOBS = 256
Job = TypeVar('Job')


@dataclass(frozen=True)
class SceneJob:
    """The work on one scene.

    Attributes:
        scene: its name.
        config: config file of this scene alone.
        work_dir: of its training, with the log of both commands.
        method: of the teacher.
        export: options of ``tools/render_scene_nerf.py``.
        threads: that each process may use; None for as many as it takes.
    """

    scene: str
    config: Path
    work_dir: Path
    method: str
    export: tuple[str, ...]
    threads: int | None = None


def make_jobs(
    config: Config, scenes: Sequence[str] | None, work_dir: Path, method: str, export: Sequence[str]
) -> list[SceneJob]:
    """Write the config of each scene to a folder of its own; return the jobs.

    Args:
        config: as loaded, of any scene.
        scenes: names; None for all in its info files.
        work_dir: above the folders of the scenes.
        method: of the teachers.
        export: options of ``tools/render_scene_nerf.py``.

    Raises:
        InputError: no such scene, or a folder that cannot be written.
    """
    where = str(config.filename)
    known = scenes_of(config, where)
    chosen = list(dict.fromkeys(known if scenes is None else scenes))
    if unknown := [scene for scene in chosen if scene not in known]:
        names = f'{", ".join(known[:10])}{", ..." if len(known) > 10 else ""}'
        raise InputError(f'{where}: has no scene {", ".join(unknown)}; its info files have {names}')
    jobs = []
    for scene, stem in zip(chosen, file_stems(chosen), strict=True):
        folder = require_writable(work_dir / stem).absolute()
        _write_config(config, scene, folder / CONFIG)
        jobs.append(SceneJob(scene, folder / CONFIG, folder, method, tuple(export)))
    return jobs


def _write_config(config: Config, scene: str, path: Path) -> None:
    """Write the whole config with another scene; warn if the scene was begun with other settings."""
    whole = Config({**config.to_dict(), 'scene_nerf': {**config.scene_nerf, 'scene': scene}})
    text = whole.pretty_text
    if path.is_file() and path.read_text() != text:
        warn(
            f'{path}: the settings are other ones than those that scene {scene} was begun with; a training that is '
            f'there goes on: remove {path.parent} to begin it anew'
        )
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def run_scene(job: SceneJob) -> str | None:
    """Train, or go on with the training, and export; return what went wrong, None if nothing did."""
    checkpoint: str | None = 'None'
    if job.method == FIELD:
        if problem := _run(job, 'train', str(job.config), '--work-dir', str(job.work_dir), '--resume'):
            return problem
        checkpoint = newest_checkpoint(job.work_dir)
        if checkpoint is None:
            return f'the training left no checkpoint in {job.work_dir}'
    return _run(job, 'render_scene_nerf', str(job.config), checkpoint, '--method', job.method, *job.export)


def _run(job: SceneJob, tool: str, *arguments: str) -> str | None:
    """Run one of our commands for a scene; return what went wrong."""
    return run_tool(tool, arguments, job.work_dir / LOG, job.threads)


def run_here(jobs: Sequence[SceneJob], workers: int = 1) -> Iterator[tuple[SceneJob, str | None]]:
    """Run jobs on this machine, a few at a time, which share its cores; yield each that ended, and what went wrong."""
    jobs = [replace(job, threads=threads_for(workers)) for job in jobs]
    # Threads wait for the processes: one that is killed for lack of memory ends alone.
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(_safely, run_scene, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _safely(work: Callable[[Job], str | None], job: Job) -> str | None:
    """Run a job; an error of this process is told like one of its processes."""
    try:
        return work(job)
    except (InputError, OSError) as error:
        return str(error)


def run_on_cluster(
    jobs: Sequence[Job],
    folder: Path,
    workers: int,
    options: Mapping[str, Any],
    work: Callable[[Job], str | None] = run_scene,
    name: str = 'teachers',
) -> Iterator[tuple[Job, str | None]]:
    """Run jobs as one array of slurm jobs through submitit; yield each when it ended, and what went wrong.

    Args:
        jobs: one array task each.
        folder: where submitit writes its logs; all nodes see it.
        workers: how many run at once.
        options: of ``submitit.AutoExecutor.update_parameters``.
        work: what is done with a job; it returns what went wrong. It and the jobs are pickled.
        name: of the array.

    Raises:
        InputError: submitit or slurm is missing, or submitit refuses the options.
    """
    try:
        import submitit
    except ImportError as error:
        raise InputError(
            f'--launcher slurm needs the package submitit ({error}); install it with: '
            f'{sys.executable} -m pip install submitit'
        ) from error
    if shutil.which('sbatch') is None:
        raise InputError('--launcher slurm: there is no sbatch here; start on a node of the cluster, or leave it away')
    executor = submitit.AutoExecutor(folder=folder, cluster='slurm')
    try:
        executor.update_parameters(name=name, slurm_array_parallelism=workers, **options)
    except (AssertionError, NameError, TypeError, ValueError) as error:
        raise InputError(f'--slurm: submitit refuses these options ({error}); correct them') from error
    for job, submitted in zip(jobs, executor.map_array(partial(_safely, work), jobs), strict=True):
        try:
            yield job, submitted.result()
        except Exception as error:  # out of time or memory, cancelled: the others go on
            yield job, ' '.join(f'{type(error).__name__}: {error}'.split())[:500]
