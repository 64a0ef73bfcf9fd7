"""A cached sample is the uncached one, bit by bit; a cache that is not of the present data is never used."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config

from projects.DistillNeRF.datasets import cache as cache_module
from projects.DistillNeRF.datasets.cache import read_cached
from projects.DistillNeRF.engine.create_cache import create_cache
from projects.DistillNeRF.pipelines import images, lidar
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.boxworld import BoxWorld
from tests.helpers.commands import run
from tests.helpers.dataset import PIPELINE, build_dataset
from tests.helpers.refusals import assert_refused

OPTIONS = {
    'image_size': (30, 50),
    'render_size': (15, 25),
    'lidar_sweeps': 3,
    'training_target_smart_sample': True,
    'virtual_img_target_smart_sample': True,
    'enable_upward_virtual_cam': True,
    'load_teacher': True,
}


def make(root: Path, workers: int = 1, **options: Any) -> list[str]:
    """Make the cache of a training on the box world."""
    given = {
        'type': 'DistillNeRFDataset',
        'ann_file': 'infos.pkl',
        'data_root': str(root),
        'pipeline': list(PIPELINE),
        **OPTIONS,
        **options,
    }
    return create_cache(Config({'train_dataloader': {'dataset': given}}), workers)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


def samples(root: Path, cache: str | None, **options: Any) -> list[dict]:
    dataset = build_dataset(root, cache=cache, **{**OPTIONS, **options})
    random.seed(3)
    return [dataset[index] for index in range(len(dataset))]


def assert_same(one: Any, other: Any) -> None:
    """Two packed samples hold the same bytes."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_same(value, other[key])
    elif hasattr(one, 'cameras'):
        assert one.names == other.names and one.frames == other.frames
        for name in ('images', 'lidar_depth', 'teacher_depth', 'sky_mask'):
            first, second = getattr(one, name).numpy(), getattr(other, name).numpy()
            assert first.dtype == second.dtype and first.tobytes() == second.tobytes(), name
        assert one.cameras.intrinsics.numpy().tobytes() == other.cameras.intrinsics.numpy().tobytes()


@pytest.fixture(scope='module')
def original(tmp_path_factory) -> Path:
    """The box world with a cache; tests must not change it."""
    root = tmp_path_factory.mktemp('cached')
    BoxWorld().write(root)
    make(root)
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    """A copy of it, with the times of the files."""
    return Path(shutil.copytree(original, tmp_path / 'root'))


def no_source(*arguments: Any) -> None:
    raise AssertionError(f'a source was read: {arguments}')


def test_a_cached_sample_is_the_uncached_one_and_no_source_is_read(original, monkeypatch):
    plain = samples(original, None)
    dataset = build_dataset(original, cache='cache', **OPTIONS)
    for module, reader in ((images, 'read_image'), (lidar, 'read_points')):
        monkeypatch.setattr(module, reader, no_source)
    random.seed(3)
    for index, sample in enumerate(plain):
        assert_same(sample, dataset[index])
    assert {name for sample in plain for name in sample['inputs']['target_views'].names} > {'FRONT'}


def test_a_cache_is_the_same_from_any_number_of_processes(root):
    before = files(root / 'cache')
    shutil.rmtree(root / 'cache')
    (line,) = make(root, workers=2)
    assert f'wrote {len(before)} files' in line
    # The notes of the sources hold their times.
    arrays = {name: content.partition(b'\n')[2] for name, content in files(root / 'cache').items()}
    assert arrays == {name: content.partition(b'\n')[2] for name, content in before.items()}


def test_making_a_cache_goes_on_where_it_stopped(root):
    make(root)  # the copies have other times
    some = sorted((root / 'cache').rglob('*.cache'))[:3]
    kept = files(root / 'cache')
    for path in some:
        path.unlink()
    assert 'wrote 3 files' in make(root)[0]
    assert files(root / 'cache') == kept
    assert 'wrote 0 files' in make(root)[0]


def test_a_copied_data_set_keeps_its_cache(root, monkeypatch):
    """All times differ, so the contents are compared; afterwards the new times are noted."""
    for path in root.rglob('*'):
        os.utime(path, ns=(1, 1))
    for sample, other in zip(samples(root, None), samples(root, 'cache'), strict=True):
        assert_same(sample, other)
    assert 'wrote 0 files' not in make(root)[0]
    dataset = build_dataset(root, cache='cache', **OPTIONS)
    cache_module._digest.cache_clear()
    monkeypatch.setattr(cache_module, 'file_digest', no_source)
    dataset[0]


def test_a_source_that_has_changed_is_noticed_and_its_file_made_again(root):
    image, points = root / 'samples/FRONT/frame1.png', root / 'lidar/1.bin'
    shutil.copy(root / 'samples/FRONT/frame2.png', image)
    status = points.stat()
    content = bytearray(points.read_bytes())
    content[-1] ^= 1
    points.write_bytes(content)
    os.utime(points, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(InputError, match=r'create_data.py cache') as error:
        samples(root, 'cache', indices=[1])
    assert 'has changed since' in str(error.value)
    make(root)
    for sample, other in zip(samples(root, None), samples(root, 'cache'), strict=True):
        assert_same(sample, other)
    points.write_bytes(content[: len(content) // 20 * 10])
    assert_refused(lambda: samples(root, 'cache'), points, 'has changed since')


def test_a_source_of_the_same_size_and_time_is_compared_by_its_content(root):
    points = root / 'lidar/1.bin'
    status, content = points.stat(), bytearray(points.read_bytes())
    content[0] ^= 1
    points.write_bytes(content)
    os.utime(points, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert_refused(lambda: samples(root, 'cache', indices=[1]), points, 'has changed since')


@pytest.mark.parametrize(
    'options',
    [{'image_size': (30, 60)}, {'render_size': (10, 25)}, {'lidar_sweeps': 2}, {'lidar_range': 40.0}],
    ids=lambda options: next(iter(options)),
)
def test_other_settings_have_files_of_their_own(original, options):
    assert_refused(lambda: samples(original, 'cache', **options), 'is not in the cache', 'create_data.py cache')


def test_a_folder_that_is_renamed_to_other_settings_is_noticed(root):
    cache = root / 'cache'
    (cache / 'images_30x50').rename(cache / 'images_30x60')
    assert_refused(
        lambda: samples(root, 'cache', image_size=(30, 60)), 'image_size [30, 50], and now it is [30, 60]', start=cache
    )


def test_other_poses_are_noticed_and_the_last_bit_of_a_matrix_is_not_trusted(root, monkeypatch):
    read = []
    monkeypatch.setattr(
        lidar, 'read_points', lambda *given, plain=lidar.read_points: read.append(given) or plain(*given)
    )
    matrices = lidar._lidar2img
    monkeypatch.setattr(lidar, '_lidar2img', lambda view: matrices(view) * np.float32(1 + 2e-7))
    last_bit = samples(root, 'cache', indices=[1])
    assert read
    assert_same(last_bit[0], samples(root, None, indices=[1])[0])
    monkeypatch.setattr(lidar, '_lidar2img', lambda view: matrices(view) * np.float32(1.01))
    assert_refused(lambda: samples(root, 'cache'), 'poses or intrinsics are others')
    make(root)
    assert_same(samples(root, 'cache', indices=[1])[0], samples(root, None, indices=[1])[0])


@pytest.mark.parametrize('library', ['OpenCV', 'numpy'])
def test_another_version_of_a_library_is_noticed(original, monkeypatch, library):
    module = {'OpenCV': images.cv2, 'numpy': lidar.np}[library]
    dataset = build_dataset(original, cache='cache', **OPTIONS)
    monkeypatch.setattr(module, '__version__', '0.1')
    assert_refused(lambda: dataset[0], f'{library} ', 'and now it is 0.1')


def test_damage_is_noticed_and_repaired(root):
    path = sorted((root / 'cache').rglob('*.cache'))[0]
    whole = path.read_bytes()
    middle = len(whole) // 2
    for damaged in (b'', whole[:5], whole[:-1], whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match='is damaged, or no file of a cache'):
            read_cached(path, cache_module.Origin([], {}))
    assert 'wrote' in make(root)[0]
    assert len(path.read_bytes()) == len(whole)


@pytest.mark.parametrize(
    'content',
    [
        b'no line',
        b'no JSON\n',
        b'7\n',
        b'{}\n',
        b'{"settings": null}\n',
        b'{"settings": {}, "sources": null}\n',
        b'{"settings": {}, "sources": [], "arrays": {"a": []}, "facts": {}}\n',
        b'{"settings": {}, "sources": [], "arrays": {"a": ["<f4", [2]]}, "facts": {}}\n1234',
    ],
)
def test_a_file_that_another_program_wrote_is_made_again(tmp_path, content):
    """Its checksum fits."""
    path, origin = tmp_path / 'a.cache', cache_module.Origin([], {})
    path.write_bytes(cache_module._checksum(content) + content)
    assert_refused(lambda: read_cached(path, origin), 'is damaged, or no file of a cache', start=path)
    assert cache_module.update_cached(path, origin, lambda: cache_module.Cached({'a': np.ones(2)}))
    assert read_cached(path, origin).arrays['a'].tolist() == [1, 1]


def test_a_missing_file_stops_before_the_first_sample(root):
    path = root / 'cache/images_30x50/img/samples/FRONT/frame1.png.cache'
    path.unlink()
    assert_refused(lambda: build_dataset(root, cache='cache', **OPTIONS), '0 more', 'create_data.py cache', start=path)


def test_names_stay_within_the_cache():
    assert cache_module.cache_name('img', '../../a/b.jpg') == 'img/up/up/a/b.jpg.cache'
    assert cache_module.cache_name('img', '/a/b.jpg') == 'img/a/b.jpg.cache'


def test_the_command_makes_what_the_setting_of_a_config_uses(project, tmp_path):
    options = ('--cfg-options', f'cache={tmp_path / "cache"}')
    assert_refused(run('train', project.config, '--work-dir', tmp_path / 'work', *options), 'is not in the cache')
    made = run('create_data', 'cache', project.config, *options)
    assert made.code == 0 and f'{tmp_path / "cache"}: wrote ' in made.out
    result = run('train', project.config, '--work-dir', tmp_path / 'work', *options, 'train_cfg.max_iters=1')
    assert result.code == 0, result.err
    assert_refused(run('create_data', 'cache', project.config, '--workers', 0), '--workers is 0')
    assert_refused(run('train', project.config, '--cfg-options', 'cache=True'), 'cache is True')
