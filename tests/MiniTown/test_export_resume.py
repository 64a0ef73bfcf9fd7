"""A data set is whole or goes on where it stopped; wrong input is told."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from projects.DistillNeRF.engine import create_minitown as converter
from projects.DistillNeRF.utils.errors import InputError
from projects.MiniTown import generate as module
from projects.MiniTown.generate import VERSION, generate
from projects.MiniTown.truth import teacher_root
from tests.helpers.boxtown import SMALL


def digest(root: Path) -> dict[str, str]:
    """Return a hash of every file below ``root``."""
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


@pytest.fixture
def own_town(box_dataset: Path, tmp_path: Path) -> Path:
    """Copy the data set, to damage it."""
    shutil.copytree(teacher_root(box_dataset), teacher_root(tmp_path / 'town'))
    return shutil.copytree(box_dataset, tmp_path / 'town')


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.usefixtures('box_town')
@pytest.mark.parametrize(
    ('pattern', 'damage'),
    [
        ('samples/CAM_FRONT/minitown-0001__*.jpg', Path.unlink),
        ('sweeps/LIDAR_TOP/minitown-0001__*.pcd.bin', cut),
        ('truth/depth/CAM_BACK/minitown-0001__*.npy', lambda path: path.write_bytes(bytes(path.stat().st_size))),
        ('gts/minitown-0001/*/labels.npz', Path.unlink),
        ('maps/*.png', cut),
        ('records/minitown-0001.json', cut),
        ('../town_emernerf/samples_0_0_0_0_0_0/depths/CAM_FRONT/minitown-0001__*.npy', Path.unlink),
        ('truth/left_right/minitown-0002__*/+0.0.jpg', cut),
    ],
)
def test_scenes_that_were_damaged_since_are_made_again(box_dataset, own_town, monkeypatch, capsys, pattern, damage):
    made = []
    export = module.export_scene

    def counted(root: Path, settings, index: int) -> None:
        made.append(index)
        export(root, settings, index)

    monkeypatch.setattr(module, 'export_scene', counted)
    damage(min(own_town.glob(pattern)))
    generate(own_town, **SMALL)
    assert len(made) == 1 and 'made again' in capsys.readouterr().err
    assert digest(own_town) == digest(box_dataset)
    assert digest(teacher_root(own_town)) == digest(teacher_root(box_dataset))


def test_scenes_of_two_versions_of_the_generator_do_not_mix(own_town, monkeypatch, capsys):
    monkeypatch.setattr(module, 'code_digest', lambda: 'another')
    generate(own_town, **SMALL)
    assert '2 of 2 scenes were made by another version of the generator: kept' in capsys.readouterr().err
    (own_town / 'records/minitown-0002.json').unlink()
    with pytest.raises(
        InputError, match=r'made by another version of the generator, and 1 \(minitown-0002, .* not whole'
    ):
        generate(own_town, **SMALL)


def test_scenes_of_before_such_records_stay(own_town, monkeypatch):
    for file in (own_town / 'records').iterdir():
        record = json.loads(file.read_text())
        del record['code'], record['files']
        file.write_text(json.dumps(record))
    monkeypatch.setattr(module, 'export_scene', None)
    generate(own_town, **SMALL)


def test_settings_that_are_not_given_are_those_of_the_town(own_town, tmp_path):
    converter.convert(own_town, tmp_path / 'out', scenes=None, keyframes=3)
    assert (tmp_path / 'out/minitown_infos_val.pkl').is_file()
    with pytest.raises(InputError, match='seed 4'):
        converter.convert(own_town, tmp_path / 'out', seed=4)
