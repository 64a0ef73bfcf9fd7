"""A data set is whole or goes on where it stopped; wrong input is told."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from boxtown import SMALL

from projects.DistillNeRF.errors import InputError
from projects.DistillNeRF.minitown import generate as module
from projects.DistillNeRF.minitown.generate import VERSION, generate
from projects.DistillNeRF.minitown.truth import teacher_root


def digest(root: Path) -> dict[str, str]:
    """A hash of every file below ``root``."""
    files = (file for file in sorted(root.rglob('*')) if file.is_file())
    return {file.relative_to(root).as_posix(): hashlib.md5(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.usefixtures('box_town')
def test_an_interrupted_run_goes_on_to_the_same_files(
    box_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = module.export_scene

    def stop_at_second(root: Path, settings, index: int) -> None:
        if index == 1:
            raise KeyboardInterrupt
        export(root, settings, index)

    monkeypatch.setattr(module, 'export_scene', stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / 'town', **SMALL)
    assert not (tmp_path / 'town' / VERSION).exists()

    monkeypatch.setattr(module, 'export_scene', export)
    progress = []
    generate(tmp_path / 'town', **SMALL, progress=lambda done, total: progress.append((done, total)))
    assert progress == [(1, 2), (2, 2)]
    assert digest(tmp_path / 'town') == digest(box_dataset)
    assert digest(teacher_root(tmp_path / 'town')) == digest(teacher_root(box_dataset))


def test_a_second_run_changes_nothing(box_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest(box_dataset)
    monkeypatch.setattr(module, 'export_scene', None)
    generate(box_dataset, **SMALL)
    assert digest(box_dataset) == before


@pytest.mark.parametrize(('changed', 'told'), [({'seed': 4}, 'seed 4'), ({'scenes': 3}, 'scenes 3')])
def test_other_settings_in_the_same_folder_are_refused(box_dataset: Path, changed: dict, told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        generate(box_dataset, **SMALL | changed)
    assert str(box_dataset) in str(error.value)
    assert json.loads((box_dataset / 'minitown.json').read_text())['seed'] == SMALL['seed']


def test_scenes_of_an_older_release_are_refused(box_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'RELEASE', module.RELEASE + 1)
    with pytest.raises(InputError, match='release'):
        generate(box_dataset, **SMALL)


@pytest.mark.parametrize('changed', [{'scenes': 1}, {'keyframes': 1}, {'workers': 0}, {'seed': -1}])
def test_settings_without_sense_are_refused(tmp_path: Path, changed: dict) -> None:
    with pytest.raises(InputError, match=next(iter(changed))):
        generate(tmp_path / 'new', **SMALL | changed)
    assert not (tmp_path / 'new').exists()


def test_folders_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='is a file'):
        generate(tmp_path / 'file', **SMALL)
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'notes.txt').write_text('mine')
    with pytest.raises(InputError, match='not empty'):
        generate(tmp_path / 'other', **SMALL)
    (tmp_path / 'damaged').mkdir()
    for content in ('{"scenes":', '[1]'):
        (tmp_path / 'damaged' / 'minitown.json').write_text(content)
        with pytest.raises(InputError, match=r'minitown\.json.*remove'):
            generate(tmp_path / 'damaged', **SMALL)
