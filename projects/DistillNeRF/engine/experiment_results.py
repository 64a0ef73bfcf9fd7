"""Figures of an experiment in one file, which another machine goes on with: ``tools/experiment.py --results FILE``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..utils.errors import InputError
from ..utils.files import is_file, read_json, save_json
from ..utils.provenance import fingerprint
from .experiment import RESULTS, SETTINGS, Experiment, Run, different, finished


def take_results(experiment: Experiment, runs: Sequence[Run], path: Path) -> None:
    """Put the figures of a file into the folders of the runs that have none, so that they are not made again.

    Raises:
        InputError: the file cannot be read, or has figures of other settings or data, or of another training.
    """
    if not is_file(path):
        return
    kept = read_json(path, 'restore it, or give another --results')
    if not isinstance(kept, dict) or not all(isinstance(one, dict) and 'runs' in one for one in kept.values()):
        raise InputError(f'{path}: holds no results of an experiment; give another --results')
    for name, one in kept.items():
        data = experiment.settings[name].data if name in experiment.settings else None
        if differs := different(one.get('settings'), one.get('data'), _settings(experiment).get(name), data):
            raise InputError(
                f'{path}: run {name!r} has {differs} in {experiment.path}; remove {name!r} from the file, or give '
                'another --results'
            )
        _note_data(path, next(run.folder.parent for run in runs if run.name == name), one.get('data'))
    for run in runs:
        found = [one for one in kept.get(run.name, {'runs': []})['runs'] if one['seed'] == run.seed]
        file = run.folder / RESULTS
        if found and not file.is_file():
            save_json(file, found[0], indent=2)
        elif found and read_json(file, f'remove {run.folder}') != found[0]:
            raise InputError(f'{path}: has other figures of {run.name!r}, seed {run.seed}, than {file}; remove one')


def _note_data(path: Path, folder: Path, data: str | None) -> None:
    """Note the data of the figures that come into a folder, as there may be none now to compare with."""
    settings = read_json(folder / SETTINGS, f'remove {folder}')
    if any(folder.glob('seed_*')) and settings['data'] != data:
        raise InputError(f'{path}: has figures of other data than {folder}; remove that, or give another --work-dir')
    save_json(folder / SETTINGS, settings | {'data': data}, indent=2)


def save_results(experiment: Experiment, runs: Sequence[Run], path: Path) -> None:
    """Write the figures of all runs that are finished."""
    settings = _settings(experiment)
    kept = {
        name: {'settings': settings[name], 'data': experiment.settings[name].data, 'runs': found}
        for name, found in finished(runs).items()
        if found
    }
    save_json(path, kept, indent=1)


def _settings(experiment: Experiment) -> dict[str, str]:
    """Return a digest of all that the figures of each name depend on, but for its seed, the code and the data."""
    tests = {'evaluations': experiment.evaluations, 'true_views': experiment.true_views}
    return {name: fingerprint(whole=one.whole, **tests) for name, one in experiment.settings.items()}
