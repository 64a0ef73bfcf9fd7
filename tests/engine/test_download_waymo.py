"""tools/download_waymo.py with a client that reads a folder in place of a bucket."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from projects.DistillNeRF.datasets.waymo_splits import SPLITS, STATIC32
from tests.helpers.commands import Result, run
from tests.helpers.refusals import assert_refused
from tests.helpers.waymo_like import training_segments

BUCKET = 'gs://made-up/training'
CLIENT = """#!{python}
import os, shutil, sys
from pathlib import Path
folder = Path(os.environ['BUCKET_FOLDER'])
words = [word for word in sys.argv[1:] if not word.startswith('-') and word != 'storage']
with open(folder.parent / 'calls.txt', 'a') as file:
    file.write(' '.join(words) + '\\n')
if os.environ.get('SIGNED_OUT'):
    sys.exit('ERROR: 401 Anonymous caller does not have storage.objects.list access')
if words[0] == 'ls':
    for path in sorted(folder.iterdir()):
        size = path.stat().st_size + int(os.environ.get('MORE', 0))
        print(f'{{size:>12}}  2024-01-01T00:00:00Z  {bucket}/{{path.name}}')
    print('TOTAL: 2 objects, 1 bytes (1 B)')
else:
    name = words[1].rpartition('/')[2]
    if name == os.environ.get('BROKEN'):
        sys.exit(1)
    shutil.copy(folder / name, words[2])
"""


def file_of(name: str) -> str:
    return f'segment-{name}_with_camera_labels.tfrecord'


@pytest.fixture
def bucket(tmp_path, monkeypatch) -> Path:
    """A folder of small training segments, and a gcloud that is the only client."""
    folder = tmp_path / 'bucket'
    folder.mkdir()
    for number, name in enumerate(training_segments()):
        (folder / file_of(name)).write_bytes(b'x' * (number + 1))
    clients = tmp_path / 'bin'
    clients.mkdir()
    client = clients / 'gcloud'
    client.write_text(CLIENT.format(python=sys.executable, bucket=BUCKET))
    client.chmod(0o755)
    monkeypatch.setenv('PATH', str(clients))
    monkeypatch.setenv('BUCKET_FOLDER', str(folder))
    return folder


@pytest.fixture
def no_client(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv('PATH', str(tmp_path / 'nothing'))


def fetch(tmp_path: Path, *options: object) -> Result:
    return run('download_waymo', '--out', tmp_path / 'out', '--bucket', BUCKET, *options)


def test_a_part_of_notr_is_fetched_once(bucket, tmp_path):
    result = fetch(tmp_path, '--splits', 'dynamic32')
    assert result.code == 0, result.err
    names = [training_segments()[number] for number in SPLITS['dynamic32']]
    out = tmp_path / 'out'
    assert {path.name for path in out.iterdir()} == {*map(file_of, names), 'dynamic32.txt'}
    for name in names:
        assert (out / file_of(name)).read_bytes() == (bucket / file_of(name)).read_bytes()
    assert (out / 'dynamic32.txt').read_text().split() == names
    assert '32 segments, 0 in' in result.out and '32 segments are in' in result.out
    calls = tmp_path / 'calls.txt'
    before = len(calls.read_text().splitlines())
    again = fetch(tmp_path, '--splits', 'dynamic32')
    assert again.code == 0 and '32 segments, 32 in' in again.out
    assert len(calls.read_text().splitlines()) == before + 1, 'the list alone'


def test_it_goes_on_after_a_failure_and_replaces_what_has_another_size(bucket, tmp_path, monkeypatch):
    third = file_of(training_segments()[16])
    monkeypatch.setenv('BROKEN', third)
    path = tmp_path / 'mine.txt'
    path.write_text('0\n1\n16\n17\n')
    assert_refused(fetch(tmp_path, '--list', path), third, 'gcloud failed (1)', 'the same command goes on')
    out = tmp_path / 'out'
    first, second = (file_of(name) for name in training_segments()[:2])
    assert {one.name for one in out.iterdir()} == {first, second}
    (out / first).write_bytes(b'cut')
    monkeypatch.delenv('BROKEN')
    result = fetch(tmp_path, '--list', path)
    assert result.code == 0 and '4 segments, 1 in' in result.out and (out / first).read_bytes() == b'x'
    assert len(list(out.iterdir())) == 4


def test_a_file_of_another_size_is_not_kept(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv('MORE', '5')
    assert_refused(fetch(tmp_path, '--splits', 'static32'), 'came with 4 bytes instead of 9')
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['static32.txt']


def test_nothing_is_fetched_that_does_not_fit(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv('MORE', str(10**16))
    assert_refused(fetch(tmp_path, '--splits', 'static32'), 'GB are to be fetched and', 'make room')
    assert not list((tmp_path / 'out').glob('*.tfrecord'))


def test_a_bucket_that_may_not_be_read(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv('SIGNED_OUT', '1')
    assert_refused(fetch(tmp_path, '--splits', 'static32'), '401 Anonymous caller', 'gcloud auth login')


def test_without_a_client_it_says_what_to_fetch(no_client, tmp_path):
    result = fetch(tmp_path, '--splits', 'static32')
    assert_refused(result, 'neither gcloud nor gsutil is installed')
    for name in STATIC32.values():
        assert f'{BUCKET}/{file_of(name)} -> {tmp_path / "out" / file_of(name)}' in result.out
    assert not (tmp_path / 'out').exists()
    dry = fetch(tmp_path, '--splits', 'static32', '--dry-run')
    assert dry.code == 0 and dry.out == result.out
    assert_refused(fetch(tmp_path, '--splits', 'dynamic32'), 'segment number 16', 'install gcloud')


@pytest.mark.parametrize('line', ['{size:>10}  2024-01-01T00:00:00Z  {bucket}/{file}', '{bucket}/{file}', '{name}'])
def test_a_saved_list_tells_the_rest(no_client, tmp_path, line):
    listing, names = tmp_path / 'listing.txt', training_segments()
    rows = [line.format(size=10**9, bucket=BUCKET, file=file_of(name), name=name) for name in names]
    listing.write_text('\n'.join(rows) + '\nTOTAL: 798 objects, 5 bytes (5 B)\n')
    result = fetch(tmp_path, '--splits', 'diverse56', '--listing', listing, '--dry-run')
    assert result.code == 0, result.err
    assert ('to fetch: 56.0 GB' if 'size' in line else 'sizes unknown') in result.out
    assert f'{BUCKET}/{file_of(names[770])} -> ' in result.out


def test_what_cannot_be_meant_is_refused(bucket, tmp_path):
    assert_refused(fetch(tmp_path), 'no segment is named', '--splits static32')
    path = tmp_path / 'mine.txt'
    path.write_text('10061305430875486848_1080_000_1100_001\n')
    assert_refused(fetch(tmp_path, '--list', path), 'has no segment 10061305430875486848_1080_000_1100_001')
    assert_refused(fetch(tmp_path, '--splits', 'static32', '--listing', tmp_path / 'none'), 'save one with: gcloud')
    empty = tmp_path / 'empty.txt'
    empty.write_text('nothing here\n')
    assert_refused(fetch(tmp_path, '--splits', 'static32', '--listing', empty), 'lists no segment')
    assert os.environ['PATH'] == str(tmp_path / 'bin')
