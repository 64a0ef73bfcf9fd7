"""tools/get_weights.py against a small server that speaks the hub's protocol: what it gets is whole, or not there."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import file_download

from projects.DistillNeRF.foundation_models import hub as hub_module
from projects.DistillNeRF.foundation_models.catalog import CATALOG, at_place, named
from projects.DistillNeRF.foundation_models.checksums import RECORD
from projects.DistillNeRF.foundation_models.downloads import get
from projects.DistillNeRF.foundation_models.placing import DAMAGED, INTACT, MISSING, UNKNOWN, status
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.commands import Result, run
from tests.helpers.hub_server import COMMIT, LFS_FROM, Hub, git_sum, lfs_sum, serving
from tests.helpers.refusals import assert_refused

DINO = named('dinov2-vitb14')
DEPTH = named('depth-anything-v1')
# The published file is too large for a test; its checksum stands in the catalog.
TINY_DEPTH = replace(DEPTH, sha256=None)
WEIGHTS = random.Random(0).randbytes(3001)
FILES = {
    'config.json': b'{"model_type": "dinov2"}',
    'README.md': b'license: apache-2.0\n' * 30,
    'model.safetensors': WEIGHTS,
    'pytorch_model.bin': b'never loaded' * 99,
    'onnx/model.onnx': b'neither',
}
TAKEN = {'config.json', 'README.md', 'model.safetensors'}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with two repositories, which this process takes for the real one."""
    assert len(FILES['config.json']) < LFS_FROM < len(FILES['README.md'])
    repositories = {f'models/{DINO.repo}': dict(FILES), f'spaces/{DEPTH.repo}': {DEPTH.file: WEIGHTS, 'app.py': b'x'}}
    with serving(Hub(repositories)) as server:
        monkeypatch.setenv('HF_ENDPOINT', server.url)
        # Between attempts; and how much is kept at once of what arrives.
        monkeypatch.setattr(file_download.time, 'sleep', lambda seconds: None)
        monkeypatch.setattr(file_download.constants, 'DOWNLOAD_CHUNK_SIZE', 100)
        yield server


def get_dino(root: Path, *options: object) -> Result:
    return run('get_weights', DINO.name, '--out', root, *options)


def everything(folder: Path) -> dict[str, bytes]:
    """Content of all files below a folder, hidden ones, too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file() and not path.is_symlink()
    }


def test_what_is_loaded_is_shown_first_then_verified_recorded_and_not_loaded_again(hub: Hub, tmp_path: Path):
    result = get_dino(tmp_path)
    assert result.code == 0, result.err
    first, *others = result.out.splitlines()
    place = tmp_path / DINO.place
    assert first == f'{DINO.name}: {DINO.repo} (commit {COMMIT[:12]}) -> {place}'
    assert others[0] == '  license: Apache-2.0; on its card: apache-2.0'
    assert f'  model.safetensors: 3,001 bytes, sha256 {lfs_sum(WEIGHTS)}' in others
    assert f'  config.json: 24 bytes, git {git_sum(FILES["config.json"])}' in others
    assert others[-1] == f'wrote {place}'
    record = json.loads((place / RECORD).read_text())
    assert record['commit'] == COMMIT and record['repository'] == DINO.repo and record['license'] == 'Apache-2.0'
    assert record['files'] == {name: {'size': len(FILES[name]), 'sha256': lfs_sum(FILES[name])} for name in TAKEN}
    assert everything(tmp_path) == {
        **{f'{DINO.place}/{name}': FILES[name] for name in TAKEN},
        f'{DINO.place}/{RECORD}': (place / RECORD).read_bytes(),
    }
    hub.loads.clear()
    hub.status = 500
    again = get_dino(tmp_path)
    assert again.code == 0 and again.out == f'{DINO.name}: {place} is there and intact\n'
    assert not hub.loads


def test_a_single_file_has_its_record_beside_it(hub: Hub, tmp_path: Path):
    lines = list(get(TINY_DEPTH, tmp_path))
    place = tmp_path / 'depth_anything_vitb14.pth'
    assert lines[-1] == f'wrote {place}' and place.read_bytes() == WEIGHTS
    record = json.loads((tmp_path / f'{place.name}.{RECORD}').read_text())
    assert record['files'] == {place.name: {'size': 3001, 'sha256': lfs_sum(WEIGHTS)}} and record['kind'] == 'space'
    assert set(everything(tmp_path)) == {place.name, f'{place.name}.{RECORD}'}
    assert status(TINY_DEPTH, tmp_path).kind == INTACT


def test_a_connection_that_breaks_once_is_gone_on_with(hub: Hub, tmp_path: Path):
    hub.cut, hub.once = {'model.safetensors': 1000}, {'model.safetensors'}
    assert get_dino(tmp_path).code == 0
    assert [load for load in hub.loads if load[0] == 'model.safetensors'] == [
        ('model.safetensors', 0),
        ('model.safetensors', 1000),
    ]
    assert (tmp_path / DINO.place / 'model.safetensors').read_bytes() == WEIGHTS


@pytest.mark.parametrize('ranges', [True, False])
def test_the_next_run_goes_on_where_one_was_cut_off(hub: Hub, tmp_path: Path, ranges: bool):
    hub.cut = {'model.safetensors': 1000}
    assert_refused(get_dino(tmp_path), f'{DINO.repo}/model.safetensors: stopped', 'it goes on where it stopped')
    assert not (tmp_path / DINO.place).exists() and status(DINO, tmp_path).kind == MISSING
    (part,) = tmp_path.rglob('*.part')
    assert part.read_bytes() == WEIGHTS[:1000]
    hub.cut, hub.ranges = {}, ranges
    hub.loads.clear()
    assert get_dino(tmp_path).code == 0
    # Files that were complete are not loaded again; a server that knows no parts sends everything.
    assert hub.loads == [('model.safetensors', 1000 if ranges else 0)]
    assert everything(tmp_path / DINO.place)['model.safetensors'] == WEIGHTS
    assert not [*tmp_path.rglob('*.part')] and not [*tmp_path.glob('.*')]


def test_other_bytes_than_the_checksum_says_are_not_kept(hub: Hub, tmp_path: Path):
    for name, kind in (('config.json', 'git'), ('model.safetensors', 'sha256')):
        hub.wrong = {name}
        assert_refused(
            get_dino(tmp_path), f'{DINO.repo}/{name}: the bytes that arrived', f'({kind})', 'nothing was kept'
        )
        assert not (tmp_path / DINO.place).exists() and not [*tmp_path.rglob('*.part')]
    hub.wrong = set()
    assert get_dino(tmp_path).code == 0


def test_a_part_that_is_not_of_this_file_does_not_survive(hub: Hub, tmp_path: Path):
    part = tmp_path / f'.{DINO.place}.download' / f'.model.safetensors.{lfs_sum(WEIGHTS)[:12]}.part'
    part.parent.mkdir()
    part.write_bytes(b'other' * 50)
    assert_refused(get_dino(tmp_path), 'the bytes that arrived do not have the checksum')
    part.write_bytes(WEIGHTS + b'too long')
    assert get_dino(tmp_path).code == 0


def test_another_file_than_the_published_one_is_not_loaded(hub: Hub, tmp_path: Path):
    result = run('get_weights', DEPTH.name, '--out', tmp_path)
    assert_refused(result, DEPTH.file, f'has the checksum {lfs_sum(WEIGHTS)}', 'published was 64ae214a', 'nothing was')
    assert not everything(tmp_path) and not hub.loads


def test_what_is_not_there_or_cannot_be_reached_is_one_line(hub: Hub, tmp_path: Path, monkeypatch):
    files = hub.repositories[f'models/{DINO.repo}']
    for name in ('model.safetensors', 'pytorch_model.bin'):
        del files[name]
    assert_refused(get_dino(tmp_path), f'{DINO.repo}: has no model.safetensors', '--from FOLDER')
    files |= {'model.safetensors': WEIGHTS}
    del files['config.json']
    assert_refused(get_dino(tmp_path), f'{DINO.repo}: has no config.json')
    hub.repositories.clear()
    assert_refused(get_dino(tmp_path), f'{DINO.repo} at {hub.url}: no such repository', 'HF_ENDPOINT=URL')
    hub.status = 500
    assert_refused(get_dino(tmp_path), 'cannot be reached (status 500)')
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9')
    assert_refused(get_dino(tmp_path), 'http://127.0.0.1:9: cannot be reached', '--from FOLDER')
    monkeypatch.setenv('HF_ENDPOINT', 'no address')
    assert_refused(get_dino(tmp_path), 'no address: cannot be reached')
    assert not everything(tmp_path)
    assert_refused(
        run('get_weights', 'dino-vitb14'), "no weights of the name 'dino-vitb14'; did you mean dinov2-vitb14"
    )
    assert_refused(get_dino(tmp_path, '--from', tmp_path / 'none'), 'none: no such folder')
    (tmp_path / 'file').touch()
    assert_refused(get_dino(tmp_path / 'file'), 'file: cannot be written to')


def test_a_file_that_disappears_between_list_and_download(hub: Hub, tmp_path: Path):
    lister = hub_module.list_repository
    repository = lister(DINO.repo)
    del hub.repositories[f'models/{DINO.repo}']['model.safetensors']
    file = repository.files['model.safetensors']
    assert_refused(
        lambda: hub_module.fetch(repository, file, tmp_path / 'w'), 'model.safetensors', 'no such file there'
    )
    assert not everything(tmp_path)


def test_a_missing_package_is_named(hub: Hub, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'huggingface_hub', None)
    assert_refused(get_dino(tmp_path), 'huggingface_hub is needed', 'requirements/foundation.txt')


def test_too_small_a_disk_is_noticed_before(hub: Hub, tmp_path: Path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(hub_module.shutil, 'disk_usage', lambda path: usage)
    assert_refused(get_dino(tmp_path), 'needs', '100 are free', '--out')
    assert not (tmp_path / DINO.place).exists()


def test_what_was_changed_since_is_loaded_again(hub: Hub, tmp_path: Path):
    get_dino(tmp_path)
    place = tmp_path / DINO.place
    (place / 'own_notes.txt').write_text('kept')
    for damage in (lambda file: file.write_bytes(WEIGHTS[:-1] + b'!'), Path.unlink):
        damage(place / 'model.safetensors')
        assert status(DINO, tmp_path).kind == DAMAGED
        result = get_dino(tmp_path)
        assert result.code == 0 and 'model.safetensors is not as it came: getting it again' in result.out
        assert status(DINO, tmp_path).kind == INTACT
    assert (place / 'own_notes.txt').read_text() == 'kept'
    assert not [*tmp_path.glob('.*')]


def test_what_somebody_else_put_there_is_compared_and_never_replaced(hub: Hub, tmp_path: Path):
    place = tmp_path / DINO.place
    place.mkdir()
    for name in TAKEN:
        (place / name).write_bytes(FILES[name])
    assert status(DINO, tmp_path).kind == UNKNOWN
    result = get_dino(tmp_path)
    assert result.code == 0 and 'was there, and is the same' in result.out and not hub.loads
    assert status(DINO, tmp_path).kind == INTACT
    (place / RECORD).unlink()
    (place / 'model.safetensors').write_bytes(b'of my own')
    before = everything(tmp_path)
    assert_refused(get_dino(tmp_path), 'model.safetensors: has not the checksum', f'move {place} away')
    (place / 'model.safetensors').unlink()
    assert_refused(get_dino(tmp_path), 'model.safetensors: is missing')
    assert before.keys() - everything(tmp_path).keys() == {f'{DINO.place}/model.safetensors'} and not hub.loads


def test_shards_come_with_their_index(hub: Hub, tmp_path: Path):
    first, second = (f'model-0000{i}-of-00002.safetensors' for i in (1, 2))
    shards = {first: b'1' * 500, second: b'2' * 500}
    index = json.dumps({'weight_map': {'a': first, 'b': second}}).encode()
    files = {'config.json': b'{}', 'model.safetensors.index.json': index, **shards, 'pytorch_model.bin': b'1' * 999}
    hub.repositories[f'models/{DINO.repo}'] = files
    assert get_dino(tmp_path / 'whole').code == 0
    got = {Path(name).name for name in everything(tmp_path / 'whole')}
    assert got == {'config.json', 'model.safetensors.index.json', *shards, RECORD}
    del files[second]
    result = get_dino(tmp_path / 'part')
    assert_refused(result, 'model.safetensors.index.json: names model-00002-of-00002.safetensors')
    assert not everything(tmp_path / 'part')


def test_a_folder_of_weights_elsewhere_is_copied_without_a_network(hub: Hub, tmp_path: Path, monkeypatch):
    other, root = tmp_path / 'other', tmp_path / 'aux_models'
    get_dino(other)
    list(get(TINY_DEPTH, other))
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9')
    result = get_dino(root, '--from', other)
    assert result.code == 0 and not result.err
    assert f'model.safetensors: 3,001 bytes, sha256 {lfs_sum(WEIGHTS)}' in result.out
    list(get(TINY_DEPTH, root, other))
    for entry in (DINO, TINY_DEPTH):
        assert status(entry, root).kind == INTACT
    assert json.loads((root / DINO.place / RECORD).read_text())['copied_from'] == str(other / DINO.place)
    # What was damaged there is not passed on.
    (other / DINO.place / 'model.safetensors').write_bytes(b'x' * 3001)
    shutil.rmtree(root)
    assert_refused(get_dino(root, '--from', other), 'model.safetensors: has not the checksum', 'copy it again')
    assert not everything(root)
    assert_refused(get_dino(root, '--from', root), f'{root}: has no {DINO.name}')


def test_a_copy_of_which_nothing_is_known_is_told(hub: Hub, tmp_path: Path):
    plain = tmp_path / 'dinov2-base'
    plain.mkdir()
    for name in TAKEN:
        (plain / name).write_bytes(FILES[name])
    for folder in (tmp_path, plain):
        root = tmp_path / 'aux_models' / folder.name
        result = get_dino(root, '--from', folder)
        assert result.code == 0 and 'warning: ' in result.err and 'which checksum' in result.err
        assert everything(root / DINO.place).keys() == {*TAKEN, RECORD}
    # The published file is known in any case.
    (plain / 'depth_anything_vitb14.pth').write_bytes(WEIGHTS)
    result = run('get_weights', DEPTH.name, '--out', tmp_path / 'aux_models', '--from', plain)
    assert_refused(result, 'depth_anything_vitb14.pth: has not the checksum')


def test_a_cache_of_the_hub_knows_the_checksums(tmp_path: Path):
    cache = tmp_path / f'models--{DINO.repo.replace("/", "--")}'
    snapshot = cache / 'snapshots' / COMMIT
    snapshot.mkdir(parents=True)
    (cache / 'blobs').mkdir()
    for name in TAKEN:
        content = FILES[name]
        blob = cache / 'blobs' / (lfs_sum(content) if len(content) >= LFS_FROM else git_sum(content))
        blob.write_bytes(content)
        (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))
    result = get_dino(tmp_path / 'aux_models', '--from', tmp_path)
    assert result.code == 0 and not result.err
    assert everything(tmp_path / 'aux_models' / DINO.place)['model.safetensors'] == WEIGHTS
    (cache / 'blobs' / lfs_sum(WEIGHTS)).write_bytes(b'cut')
    assert_refused(get_dino(tmp_path / 'again', '--from', tmp_path), 'model.safetensors: has not the checksum')


def test_the_list_needs_no_network_and_says_what_is_there(hub: Hub, tmp_path: Path, monkeypatch):
    get_dino(tmp_path)
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9')
    for options in (('--list',), ()):
        result = run('get_weights', '--out', tmp_path, *options)
        assert result.code == 0
        lines = {line.split()[0]: line for line in result.out.splitlines()}
        assert {entry.name for entry in CATALOG} == set(lines) - {'name'}
        assert 'there, intact' in lines[DINO.name] and 'Apache-2.0' in lines[DINO.name]
        assert 'missing' in lines['lpips-vgg'] and 'no commercial use' in lines['depth-anything-v2-base']
    assert_refused(run('get_weights', DINO.name, '--list'), '--list shows all weights')


def test_the_catalog_agrees_with_the_code():
    assert len({entry.name for entry in CATALOG}) == len({entry.place for entry in CATALOG}) == len(CATALOG)
    for entry in CATALOG:
        assert at_place(f'aux_models/{entry.place}') == at_place(f'/some/aux_models/{entry.place}') == entry
        assert at_place(entry.repo) == entry or entry.repo == DEPTH.repo
    assert at_place('other/lpips_vgg.pth') is None and at_place('lpips_vgg.pth') is None
    with pytest.raises(InputError, match='known: depth-anything-v1'):
        named('xyzzy')
