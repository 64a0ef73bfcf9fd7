"""The tables of nuScenes, or of any data set written as such: splits, scenes and their keyframes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuscenes import NuScenes
from nuscenes.utils.splits import create_splits_scenes

from ...utils.errors import InputError, warn
from ...utils.files import read_json, require_file
from ..drive_checks import first_few
from .common import DOWNLOAD_AGAIN

OFFICIAL_SPLITS = {
    'v1.0-mini': {'train': 'mini_train', 'val': 'mini_val'},
    'v1.0-trainval': {'train': 'train', 'val': 'val'},
    'v1.0-test': {'test': 'test'},
}
TABLES = ('sample', 'sample_data', 'scene', 'ego_pose', 'calibrated_sensor', 'sensor', 'log', 'map', 'category')
TABLES += ('attribute', 'instance', 'sample_annotation', 'visibility')


def read_splits(root: Path, version: str) -> dict[str, Sequence[str]]:
    """Return the scene names of each split, from ``splits.json`` or the official ones."""
    path = root / 'splits.json'
    if path.is_file():
        splits = read_json(path, DOWNLOAD_AGAIN)
        if not isinstance(splits, dict) or not all(map(_are_names, splits.values())):
            raise InputError(f'{path}: is not of the form {{split: [scene names]}}; {DOWNLOAD_AGAIN}')
        for split, names in splits.items():
            if len(set(names)) < len(names):
                raise InputError(f'{path}: split {split} names a scene twice; correct it')
            if not names:
                warn(f'{path}: split {split} names no scenes: no info file of it is written')
        counts = Counter(name for names in splits.values() for name in names)
        if shared := [name for name, count in counts.items() if count > 1]:
            warn(f'{path}: scene {shared[0]} is in more than one split (so are {len(shared) - 1} others)')
        return {split: names for split, names in splits.items() if names}
    if version not in OFFICIAL_SPLITS:
        raise InputError(f'version {version} has no official splits; use {", ".join(OFFICIAL_SPLITS)} or write {path}')
    official = create_splits_scenes()
    return {split: official[name] for split, name in OFFICIAL_SPLITS[version].items()}


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


class _Tables(NuScenes):
    """Load the devkit's tables in any encoding of Unicode; name a damaged one."""

    def __load_table__(self, table_name: str) -> list[dict[str, Any]]:
        return read_json(Path(self.table_root) / f'{table_name}.json', DOWNLOAD_AGAIN)


def open_tables(root: Path, version: str) -> NuScenes:
    """Load the tables; raise :class:`InputError` if one is missing or damaged."""
    folder = root / version
    if not folder.is_dir():
        raise InputError(f'{folder}: no such folder of tables; {_where_tables_are(root)}')
    for name in TABLES:
        path = require_file(folder / f'{name}.json', DOWNLOAD_AGAIN)
        # A table cut short has lost its closing bracket; parsing all of them here would double the loading time.
        with path.open('rb') as file:
            file.seek(-min(64, path.stat().st_size), 2)
            if not file.read().rstrip().endswith(b']'):
                raise InputError(f'{path}: the table is cut short; {DOWNLOAD_AGAIN}')
    try:
        return _Tables(version, str(root), verbose=False)
    except (AssertionError, AttributeError, TypeError, ValueError, KeyError) as error:
        # The devkit asserts that the map masks are there.
        raise InputError(
            f'{folder}: nuscenes-devkit cannot load the tables ({type(error).__name__}: {error}); {DOWNLOAD_AGAIN}'
        ) from error


def _where_tables_are(root: Path) -> str:
    """Say where the tables are instead, if that can be seen."""
    if (root / 'sample_data.json').is_file():
        return f'{root} is a folder of tables itself; give --root-path {root.resolve().parent} --version {root.name}'
    found = sorted(path.parent.name for path in root.glob('*/sample_data.json'))
    if found:
        return f'there is {", ".join(found)}; give --version {found[0]}'
    deeper = sorted(path.parent.parent for path in root.glob('*/*/sample_data.json'))
    if deeper:
        return f'there are tables in {deeper[0]}; give --root-path {deeper[0]}'
    return 'give --root-path the folder that holds samples, sweeps and the tables, and --version the name of the latter'


@dataclass(frozen=True)
class Scene:
    """A scene and its keyframes, in order of time."""

    name: str
    samples: Sequence[dict[str, Any]]


def scenes_of(nusc: NuScenes, names: Sequence[str], split: str) -> list[Scene]:
    """Return the scenes of a split; raise :class:`InputError` if the tables lack one."""
    where = Path(nusc.dataroot) / nusc.version
    scenes = {scene['name']: scene for scene in nusc.scene if isinstance(scene.get('name'), str)}
    if missing := [name for name in names if name not in scenes]:
        raise InputError(
            f'{where}: lacks {len(missing)} of {len(names)} scenes of split {split} ({first_few(missing)}); '
            f'{DOWNLOAD_AGAIN}, or write the scenes that it has to {where.parent / "splits.json"}'
        )
    return [Scene(name, _samples(nusc, scenes[name], where)) for name in names]


def _samples(nusc: NuScenes, scene: dict[str, Any], where: Path) -> list[dict[str, Any]]:
    """Return the keyframes of a scene, by their links."""
    samples, seen = [], set()
    token = scene.get('first_sample_token')
    while token:
        if not isinstance(token, str):
            raise InputError(f'{where}: scene {scene["name"]}: {token!r} is no token of a sample; {DOWNLOAD_AGAIN}')
        if token in seen:
            raise InputError(f'{where}: scene {scene["name"]}: next leads round to {token} again; {DOWNLOAD_AGAIN}')
        seen.add(token)
        try:
            sample = nusc.get('sample', token)
            token = sample['next']
        except (KeyError, TypeError) as error:
            raise InputError(
                f'{where}: scene {scene["name"]}, sample {token}: {error} is not in the tables; {DOWNLOAD_AGAIN}'
            ) from error
        samples.append(sample)
    if not samples:
        raise InputError(f'{where}: scene {scene["name"]} has no samples; {DOWNLOAD_AGAIN}')
    expected = scene.get('nbr_samples', len(samples))
    if expected != len(samples):
        raise InputError(
            f'{where}: scene {scene["name"]} has {expected} samples, and their links lead to {len(samples)}; '
            f'{DOWNLOAD_AGAIN}'
        )
    return samples
