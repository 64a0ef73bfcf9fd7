"""Maps on their way from files to the network, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from projects.DistillNeRF.pipelines.maps import LoadFeatures, LoadTeacher, LoadTruth, read_map, require_one_size
from projects.DistillNeRF.utils.errors import InputError


def save(path: Path, values: object, kind: type = np.float16) -> str:
    np.save(path, np.array(values, kind))
    return str(path)


def run(transform, *views: dict, size: tuple[int, int] = (2, 3), skip: bool = False) -> list[dict]:
    results = {'views': dict(enumerate(views)), 'image_size': size, 'skip_missing': skip}
    return list(transform.transform(results)['views'].values())


def test_a_map_is_float32(tmp_path):
    array = read_map(save(tmp_path / 'a.npy', [[1, 2], [3, np.nan]]), 2, 'hint')
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, [[1, 2], [3, np.nan]])


@pytest.mark.parametrize(
    ('values', 'kind', 'word'),
    [
        ([1, 2], np.float32, 'not numbers in 2 axes'),
        (np.zeros((0, 3)), np.float32, 'not numbers in 2 axes'),
        ([['a']], str, 'not numbers in 2 axes'),
        ([[1, np.inf]], np.float32, 'infinite values; hint'),
        ([[1, -np.inf]], np.float32, 'infinite values; hint'),
    ],
)
def test_maps_that_are_refused(tmp_path, values, kind, word):
    with pytest.raises(InputError, match=rf'a\.npy: .*{word}'):
        read_map(save(tmp_path / 'a.npy', values, kind), 2, 'hint')


def test_a_missing_map_is_none_or_refused(tmp_path):
    assert read_map(tmp_path / 'a.npy', 2, 'hint', skip_missing=True) is None
    with pytest.raises(InputError, match=r'a\.npy: no such file; hint'):
        read_map(tmp_path / 'a.npy', 2, 'hint')
    (tmp_path / 'a.npy').write_bytes(b'no array')
    with pytest.raises(InputError, match='not a readable array'):
        read_map(tmp_path / 'a.npy', 2, 'hint', skip_missing=True)


def test_the_map_that_differs_from_most_is_named():
    sizes = [('a', np.zeros((2, 3))), ('b', np.zeros((2, 4))), ('c', None), ('d', np.zeros((2, 3)))]
    with pytest.raises(InputError, match=r'b: has size \(2, 4\), most maps of this sample \(2, 3\)'):
        require_one_size(sizes, 'hint')
    require_one_size(sizes[:1] + sizes[2:], 'hint')
    require_one_size([], 'hint')


def test_teacher_maps_are_loaded_as_they_are_stored(tmp_path):
    depth, sky = save(tmp_path / 'd.npy', [[3, np.nan]]), save(tmp_path / 's.npy', [[0, 1]], np.uint8)
    with_teacher, without = run(LoadTeacher(), {'paths': {'teacher_depth': depth, 'sky_mask': sky}}, {'img_path': 'x'})
    np.testing.assert_array_equal(with_teacher['teacher_depth'], [[3, np.nan]])
    np.testing.assert_array_equal(with_teacher['sky_mask'], [[0, 1]])
    assert set(without) == {'img_path'}
    gone = {'paths': {'teacher_depth': str(tmp_path / 'gone.npy'), 'sky_mask': sky}}
    (half,) = run(LoadTeacher(), gone, skip=True)
    assert half['teacher_depth'] is None and half['sky_mask'] is not None
    with pytest.raises(InputError, match='no such file'):
        run(LoadTeacher(), {'paths': dict(gone['paths'])})


@pytest.mark.parametrize(
    ('depth', 'sky', 'word'),
    [
        ([[np.nan, np.nan]], [[0, 1]], 'nothing but NaN'),
        ([[1, -0.1]], [[0, 1]], 'negative depths'),
        ([[10, 20]], [[0, 1.1]], 'outside 0 to 1'),
        ([[10, 20]], [[0, -0.1]], 'outside 0 to 1'),
        ([[10, 20]], [[0, np.nan]], 'outside 0 to 1'),
    ],
)
def test_teacher_maps_that_are_refused(tmp_path, depth, sky, word):
    paths = {'teacher_depth': save(tmp_path / 'd.npy', depth), 'sky_mask': save(tmp_path / 's.npy', sky)}
    with pytest.raises(InputError, match=word):
        run(LoadTeacher(), {'paths': paths})


def test_every_pixel_takes_the_truth_at_its_center(tmp_path):
    """4 x 6 to 2 x 3: centers 0.5 * 2 = 1 and 3, and 1, 3, 5; to 3 x 4 rows 0, 2, 3 and columns 0, 2, 3, 5."""
    grid = [[10 * row + column for column in range(6)] for row in range(4)]
    path = save(tmp_path / 'a.npy', grid)
    view = {'paths': {'true_depth': path}, 'height': 4, 'width': 6}
    (half,) = run(LoadTruth(), view)
    assert half['true_depth'].tolist() == [[11, 13, 15], [31, 33, 35]]
    (other,) = run(LoadTruth(), view, size=(3, 4))
    assert other['true_depth'].tolist() == [[10 * r + c for c in (0, 2, 3, 5)] for r in (0, 2, 3)]
    (same,) = run(LoadTruth(), view, size=(4, 6))
    assert same['true_depth'].tolist() == grid
    gone, without = run(LoadTruth(), {'paths': {'true_depth': str(tmp_path / 'b.npy')}}, {'img_path': 'x'}, skip=True)
    assert gone['true_depth'] is None and 'true_depth' not in without


def save_numbers(path: Path, numbers: object) -> str:
    Image.fromarray(np.asarray(numbers, np.uint16)).save(path)
    return str(path)


def test_what_moves_is_told_by_the_speeds_of_objects(tmp_path):
    """Number 1 moves, 2 stands still, 3 is not known; 0 is no object."""
    numbers = [[0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2], [3, 3, 0, 0, 1, 1], [3, 3, 0, 0, 1, 1]]
    paths = {'true_instances': save_numbers(tmp_path / 'a.png', numbers)}
    views = [{'paths': paths, 'instance_speeds': [2.0, 0.19, np.nan]}, {'img_path': 'x', 'instance_speeds': None}]
    found, unknown = run(LoadTruth(), *views)
    np.testing.assert_array_equal(found['moving'], np.float32([[0, 1, 0], [np.nan, 0, 1]]))
    assert found['moving'].dtype == np.float32 and unknown['moving'] is None
    # Other data say nothing, and no view gets a map.
    assert 'moving' not in run(LoadTruth(), {'paths': paths}, views[1])[0]


def test_maps_of_objects_that_are_refused(tmp_path):
    path = save_numbers(tmp_path / 'a.png', [[0, 3]])
    view = {'paths': {'true_instances': path}, 'instance_speeds': [0.0, 1.0]}
    with pytest.raises(InputError, match=r'a\.png: holds no numbers of the 2 objects'):
        run(LoadTruth(), view)
    Path(path).write_bytes(b'x')
    with pytest.raises(InputError, match=r'a\.png: not a readable image'):
        run(LoadTruth(), view)
    Path(path).unlink()
    with pytest.raises(InputError, match=r'a\.png: no such file'):
        run(LoadTruth(), view)
    assert run(LoadTruth(), view, skip=True)[0]['moving'] is None


def test_true_classes_are_read_where_they_are_asked_for(tmp_path):
    """At the size that is rendered, whose pixels span the image corner to corner; views without truth have none."""
    numbers = np.arange(8).reshape(2, 4)
    Image.fromarray(numbers.astype(np.uint8)).save(tmp_path / 'a.png')
    depth = save(tmp_path / 'a.npy', np.ones((2, 4)))
    paths = {'true_depth': depth, 'true_classes': str(tmp_path / 'a.png')}

    def load(*views: dict, skip: bool = False, **settings: bool) -> list[dict]:
        made = [{'img_path': 'x', 'height': 2, 'width': 4, **view} for view in views]
        sizes = {'image_size': (2, 4), 'render_size': (1, 2)}
        results = {'views': dict(enumerate(made)), 'skip_missing': skip, **sizes}
        return list(LoadTruth(**settings).transform(results)['views'].values())

    virtual, view = load({'true_depth': None, 'paths': {}}, {'paths': paths}, with_classes=True)
    assert view['true_classes'].tolist() == [[0, 3]] and view['true_classes'].dtype == np.float32
    assert virtual['true_classes'] is None
    assert 'true_classes' not in load({'paths': paths})[0]
    assert 'true_classes' not in load({'paths': {}}, with_classes=True)[0]
    with pytest.raises(InputError, match=r'x: no class map is known .* LoadTruth\(with_classes=True\) needs MiniTown'):
        load({'paths': {'true_depth': depth}}, with_classes=True)
    gone = {'paths': {'true_depth': depth, 'true_classes': str(tmp_path / 'b.png')}}
    with pytest.raises(InputError, match=r'b\.png: no such file'):
        load(gone, with_classes=True)
    assert load(gone, skip=True, with_classes=True)[0]['true_classes'] is None


def test_a_loaded_map_leaves_its_path_in_place(tmp_path):
    path = save(tmp_path / 'a.npy', np.zeros((2, 3, 4)))
    (view,) = run(LoadFeatures(), {'paths': {'features': path}})
    assert view['paths'] == {'features': path} and view['features'].shape == (4, 2, 3)


def test_channels_of_features_come_first(tmp_path):
    values = np.arange(24).reshape(2, 3, 4)
    view, without = run(LoadFeatures(), {'paths': {'features': save(tmp_path / 'a.npy', values)}}, {'img_path': 'x'})
    assert view['features'].shape == (4, 2, 3) and view['features'].dtype == np.float32
    assert view['features'][1, 0].tolist() == [1, 5, 9] and 'features' not in without
    with pytest.raises(InputError, match='holds NaN'):
        run(LoadFeatures(), {'paths': {'features': save(tmp_path / 'b.npy', values * np.nan)}})
    (gone,) = run(LoadFeatures(), {'paths': {'features': str(tmp_path / 'c.npy')}}, skip=True)
    assert gone['features'] is None
    two = [{'paths': {'features': save(tmp_path / f'{n}.npy', np.zeros((2, n, 4)))}} for n in (3, 5)]
    with pytest.raises(InputError, match='cannot be stacked'):
        run(LoadFeatures(), *two)


@pytest.mark.parametrize('transform', [LoadTeacher(), LoadTruth()])
def test_a_camera_may_see_nothing_but_a_truck_right_before_it(transform, tmp_path):
    """Shares of a range, and inverse depth, are nearer than a meter everywhere."""
    name = 'teacher_depth' if isinstance(transform, LoadTeacher) else 'true_depth'

    def view(depth: float) -> dict:
        path = save(tmp_path / 'a.npy', np.full((4, 6), depth))
        return {'paths': {name: path}, 'height': 4, 'width': 6}

    (loaded,) = run(transform, view(1.25))
    assert loaded[name].max() == 1.25
    with pytest.raises(InputError, match=r'a\.npy: its farthest depths are 0\.875, which are no meters'):
        run(transform, view(0.875))
