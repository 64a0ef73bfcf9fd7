"""Experiments that can be repeated: several settings of a config, trained from several seeds, tested, and tabulated.

An experiment is a Python file of plain values (docs/EVALUATION.md#experiments). Everything of a run lies in a folder of
its own; what is there is not made again, unless its settings have changed, which is refused.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..configuration.config import load_config
from ..configuration.options import datasets
from ..datasets.infos import infos_digest
from ..utils.errors import InputError
from ..utils.files import file_stems, read_json, require_file, require_writable, save_json
from ..utils.provenance import commit, fingerprint
from .command_line import Overrides
from .evaluate import EVALUATIONS
from .machine import machine
from .resuming import newest_checkpoint
from .tool_runs import run_tool, threads_for

SETTINGS, RESULTS, LOG = 'settings.json', 'results.json', 'log.txt'
# Figures of novel views against the truth, in the results.
TRUE_VIEWS = 'true_views/'
KEYS = {
    'experiment': ('config', 'runs', 'options', 'seeds', 'columns', 'evaluations', 'true_views', 'compare_with'),
    'run': ('config', 'options', 'seeds'),
}


@dataclass(frozen=True)
class Run:
    """One training and its test.

    Attributes:
        name: of its settings.
        seed: of the training.
        config: file.
        options: that change it, as ``--cfg-options`` takes them.
        folder: of all that it makes.
    """

    name: str
    seed: int
    config: str
    options: tuple[str, ...]
    folder: Path


@dataclass(frozen=True)
class Settings:
    """What is trained under one name.

    Attributes:
        config: file.
        options: that change it.
        seeds: of the trainings.
        whole: all settings that follow, as text.
        data: digest of the info files of training and test; None where one is not there.
    """

    config: str
    options: dict[str, Any]
    seeds: list[int]
    whole: str
    data: str | None


@dataclass(frozen=True)
class Experiment:
    """What a file says.

    Attributes:
        path: the file.
        settings: by name.
        columns: header of a column -> key of the results; empty: all figures there are.
        evaluations: those of ``tools/test.py --eval``; None for all.
        true_views: samples of which novel views are compared with the truth; 0 for none.
        compare_with: name of the run that the others are compared with, seed by seed; None for none.
    """

    path: Path
    settings: dict[str, Settings]
    columns: dict[str, str] = field(default_factory=dict)
    evaluations: list[str] | None = None
    true_views: int = 0
    compare_with: str | None = None


def read_experiment(path: str | Path) -> Experiment:
    """Read the file of an experiment, and load all its configs.

    Raises:
        InputError: no such file, something in it cannot be right, or a config is wrong.
    """
    path = require_file(
        path, 'give the file of an experiment, such as one of projects/DistillNeRF/configs/experiments/'
    )
    try:
        given = {key: value for key, value in Config.fromfile(str(path)).to_dict().items() if key[:1] != '_'}
    except Exception as error:
        raise InputError(f'{path}: cannot be read ({" ".join(str(error).split())}); correct it') from error
    _check_keys(path, 'experiment', given)
    runs = given.get('runs')
    if not isinstance(runs, Mapping) or not runs or not all(isinstance(run, Mapping) for run in runs.values()):
        raise InputError(f"{path}: runs is no dict of dicts with something in it; give runs = {{'NAME': dict()}}")
    settings = {name: _read_run(path, name, run, given) for name, run in runs.items()}
    evaluations, samples = given.get('evaluations'), given.get('true_views', 0)
    if unknown := set(evaluations or ()) - set(EVALUATIONS):
        raise InputError(f'{path}: evaluations has {min(unknown)!r}; choose from {", ".join(sorted(EVALUATIONS))}')
    if not isinstance(samples, int) or samples < 0:
        raise InputError(f'{path}: true_views is {samples!r}; give a number of samples, 0 for none')
    if (base := given.get('compare_with')) not in (None, *settings):
        raise InputError(f'{path}: compare_with is {base!r}; choose from {", ".join(settings)}')
    return Experiment(path, settings, dict(given.get('columns') or {}), evaluations, samples, base)


def _read_run(path: Path, name: str, run: Mapping[str, Any], given: Mapping[str, Any]) -> Settings:
    """Read what is trained under one name, and load its config."""
    _check_keys(path, 'run', run, f' of run {name!r}')
    config = run.get('config', given.get('config'))
    if config is None:
        raise InputError(f'{path}: run {name!r} has no config; give config = FILE for all, or one of its own')
    options = {**given.get('options', {}), **run.get('options', {})}
    seeds = _checked_seeds(path, run.get('seeds', given.get('seeds', [0])))
    loaded = load_config(config, options)
    return Settings(config, options, seeds, loaded.pretty_text, _data_digest(loaded))


def _data_digest(config: Config) -> str | None:
    loaders = ('train_dataloader', 'test_dataloader')
    given = [dataset for loader in loaders for _, dataset in datasets(loader, config.get(loader))]
    paths = [Path(one.get('data_root') or '').expanduser() / one['ann_file'] for one in given if one.get('ann_file')]
    if not all(path.is_file() for path in paths):
        return None
    return fingerprint(infos=[_infos_digest(path, path.stat().st_mtime_ns) for path in paths])


@functools.cache
def _infos_digest(path: Path, changed: int) -> str:
    """Read a file once for all settings, as long as it does not change."""
    return infos_digest(path)


def _check_keys(path: Path, kind: str, given: Mapping[str, Any], where: str = '') -> None:
    if unknown := [key for key in given if key not in KEYS[kind]]:
        raise InputError(f'{path}: nothing reads {unknown[0]!r}{where}; choose from {", ".join(KEYS[kind])}')


def _checked_seeds(path: Path, seeds: Any) -> list[int]:
    right = isinstance(seeds, Sequence) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds)
    if not right or len(set(seeds)) < len(seeds):
        raise InputError(f'{path}: seeds is {seeds!r}; give a list of different whole numbers from 0 on')
    return list(seeds)


def make_runs(experiment: Experiment, work_dir: Path) -> list[Run]:
    """Note the settings of each name; return all runs, those of a seed together.

    Raises:
        InputError: a folder cannot be written, or holds runs of other settings.
    """
    runs = []
    for (name, one), stem in zip(experiment.settings.items(), file_stems(list(experiment.settings)), strict=True):
        path = require_writable(work_dir / stem).absolute() / SETTINGS
        settings = {'config': one.config, 'options': one.options, 'whole': one.whole, 'data': one.data}
        if path.is_file():
            begun = read_json(path, f'remove {path.parent}')
            # Before the first run, data may not have been there yet.
            data = begun.get('data') if any(path.parent.glob('seed_*')) else one.data
            if differs := different(begun['whole'], data, one.whole, one.data):
                raise InputError(
                    f'{path}: run {name!r} has {differs} now than when it was begun; remove {path.parent}, or give '
                    'another --work-dir'
                )
            settings['data'] = one.data or begun.get('data')
        save_json(path, settings, indent=2)
        words = tuple(_word(experiment.path, key, value) for key, value in one.options.items())
        runs += [Run(name, seed, one.config, words, path.parent / f'seed_{seed}') for seed in one.seeds]
    return sorted(runs, key=lambda run: run.seed)


def different(settings: str, data: str | None, settings_now: str, data_now: str | None) -> str | None:
    """Say what is different from now; where data are not there now, they cannot be compared."""
    if settings != settings_now:
        return 'other settings'
    return 'other data' if data_now is not None and data != data_now else None


def _word(path: Path, key: str, value: Any) -> str:
    """Return an option as a word of the command line that is read as this value."""
    word = f'{key}={value}'
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=Overrides)
    try:
        read = parser.parse_args(['--cfg-options', word]).cfg_options[key]
    except (AssertionError, SystemExit):
        read = NotImplemented
    if read != value or type(read) is not type(value):
        raise InputError(f'{path}: option {key} is {value!r}, which no command line can say; inherit a config instead')
    return word


def run_all(experiment: Experiment, runs: Sequence[Run], workers: int) -> Iterator[tuple[Run, str | None]]:
    """Train and test, a few runs at a time; yield each that ended, and what went wrong."""
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(_safely, experiment, run, threads_for(workers)): run for run in runs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _safely(experiment: Experiment, run: Run, threads: int | None) -> str | None:
    try:
        return train_and_test(experiment, run, threads)
    except (InputError, OSError) as error:
        return str(error)


def train_and_test(experiment: Experiment, run: Run, threads: int | None = None) -> str | None:
    """Do what is missing of a run, and write its results; return what went wrong."""
    results = run.folder / RESULTS
    if results.is_file():
        return None
    log = require_writable(run.folder) / LOG
    begun, start = newest_checkpoint(run.folder) is not None, time.perf_counter()
    options = ('--cfg-options', *run.options) if run.options else ()
    words = [run.config, '--work-dir', run.folder, '--seed', run.seed, '--resume', *options]
    if problem := run_tool('train', words, log, threads):
        return problem
    seconds = time.perf_counter() - start
    checkpoint = newest_checkpoint(run.folder)
    if checkpoint is None:
        return f'the training left no checkpoint in {run.folder}'
    figures = {}
    for tool, out, others, key in _tests(experiment, run):
        if problem := run_tool(tool, [run.config, checkpoint, *others, '--out', out, *options], log, threads):
            return problem
        values = read_json(out, 'remove it, and run the experiment again')[key]
        prefix = '' if tool == 'test' else TRUE_VIEWS
        figures |= {prefix + name: value for name, value in values.items()}
    about = {'commit': commit(), **machine(), 'threads': threads, 'training_s': None if begun else round(seconds, 1)}
    save_json(results, {'run': run.name, 'seed': run.seed, 'figures': figures, **about}, indent=2)
    return None


def _tests(experiment: Experiment, run: Run) -> list[tuple[str, Path, list[object], str]]:
    """Return the tools that test a run, each with its output, its options and where its figures stand."""
    chosen = [] if experiment.evaluations is None else ['--eval', *experiment.evaluations]
    tests = [('test', run.folder / 'test.json', ['--work-dir', run.folder / 'test', *chosen], 'model')]
    if experiment.true_views:
        options = ['--truth', '--samples', experiment.true_views]
        tests.append(('novel_view_synthesis', run.folder / 'true_views.json', options, 'mean'))
    return tests


def finished(runs: Sequence[Run]) -> dict[str, list[dict[str, Any]]]:
    """Return the results of each name, by seed; of a name without any, none."""
    found: dict[str, list[dict[str, Any]]] = {run.name: [] for run in runs}
    for run in runs:
        if (path := run.folder / RESULTS).is_file():
            found[run.name].append(read_json(path, 'remove it, and run the experiment again'))
    return found
