"""What the dataset chooses, told by records alone: no picture is read."""

from __future__ import annotations

import random
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope

import projects.DistillNeRF.register  # noqa: F401
from projects.DistillNeRF.datasets.dataset import DistillNeRFDataset
from projects.DistillNeRF.datasets.infos import save_infos
from projects.DistillNeRF.datasets.samplers import SeededIndex
from projects.DistillNeRF.utils.errors import InputError

CAMERAS = ('LEFT', 'FRONT', 'RIGHT', 'BACK')
# Degrees to the right of the front.
YAWS = {'LEFT': -70.0, 'FRONT': 5.0, 'RIGHT': 60.0, 'BACK': 180.0}
# Meters to the right.
PLACES = {'LEFT': -0.5, 'FRONT': 0.1, 'RIGHT': 0.6, 'BACK': 0.2}


def pose(x: float, y: float = 0.0, yaw: float | None = None) -> np.ndarray:
    """A pose at (x, y); with ``yaw`` that of a level camera, else not turned."""
    made = np.eye(4)
    if yaw is not None:
        c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
        made[:3, :3] = np.array([[c, 0, s], [-s, 0, c], [0, -1, 0]])
    made[:2, 3] = x, y
    return made


def half_pose(y: float) -> list[list[float]]:
    """The LiDAR's pose there."""
    return (np.diag([-1.0, -1, 1, 1]) @ pose(0, y)).tolist()


def record(scene: str, frame: int, count: int, lidar: bool) -> dict:
    """A keyframe 10 m farther on in y than the one before; a global frame that is turned by a half."""
    half = np.diag([-1.0, -1, 1, 1])
    here = half @ pose(0, 10 * frame)
    behind = pose(0, -0.9)
    behind[2, 3] = -1.84
    images = {}
    for camera in CAMERAS:
        cam2global = half @ pose(PLACES[camera], 10 * frame, YAWS[camera])
        images[camera] = {
            'img_path': f'{scene}{frame}{camera}.png',
            'cam2img': [[80.0, 0, 50], [0, 80, 30], [0, 0, 1]],
            'lidar2cam': (np.linalg.inv(cam2global) @ here).tolist(),
            'cam2global': cam2global.tolist(),
            'height': 60,
            'width': 100,
            'timestamp': 0.5 * frame,
            'teacher': {
                'depth': f'samples_0_0_0_0_0_0/depths/{camera}/{scene}{frame}.npy',
                'sky_mask': f'samples_0_0_0_0_0_0/gt_sky_masks/{camera}/{scene}{frame}.npy',
            },
            'features': f'{camera}/{scene}{frame}.npy',
        }
    points = {'lidar_path': f'{scene}{frame}.bin', 'num_pts_feats': 5}
    sweeps = [
        {'timestamp': 0.5 * frame - 0.1 * n, 'lidar2global': half_pose(10 * frame - 2 * n), 'lidar_points': points}
        for n in (1, 2, 3)
    ]
    return {
        'token': f'{scene}{frame}',
        'scene': scene,
        'frame': frame,
        'timestamp': 0.5 * frame,
        'prev': f'{scene}{frame - 1}' if frame else None,
        'next': f'{scene}{frame + 1}' if frame + 1 < count else None,
        # The vehicle's origin lies behind and below the LiDAR.
        'ego2global': (here @ behind).tolist(),
        'lidar2global': here.tolist(),
        'images': images,
        'lidar_points': points if lidar else None,
        'lidar_sweeps': sweeps,
        'instances': [{'bbox_3d': [1, 2, 3, 4, 5, 6, 7], 'bbox_label': 0}],
    }


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    """Scene a of four keyframes, whose third has no LiDAR, b of one, c of three; files are there."""
    root = tmp_path_factory.mktemp('records')
    infos = [
        record(scene, f, n, (scene, f) != ('a', 2)) for scene, n in (('a', 4), ('b', 1), ('c', 3)) for f in range(n)
    ]
    picture = np.random.default_rng(0).integers(60, 200, (60, 100, 3), np.uint8)
    png, jpg = (cv2.imencode(suffix, picture)[1].tobytes() for suffix in ('.png', '.jpg'))
    for info in infos:
        np.ones((40, 5), np.float32).tofile(root / f'{info["token"]}.bin')
        for camera, image in info['images'].items():
            (root / image['img_path']).write_bytes(png)
            for shift in ('-1_0_0', '1_0_0', '0_-1_0'):
                for kind, suffix in (('rgbs', 'jpg'), ('depths', 'npy'), ('gt_sky_masks', 'npy')):
                    path = root / f'samples_{shift}_0_0_0/{kind}/{camera}/{info["token"]}.{suffix}'
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(jpg) if suffix == 'jpg' else np.save(
                        path, np.full((4, 6), 20.0 * (kind == 'depths'))
                    )
    save_infos(root / 'infos.pkl', 'records', CAMERAS, infos, categories={'car': 0})
    return root


def dataset(root: Path, **options: object) -> DistillNeRFDataset:
    init_default_scope('mmdet3d')
    return DistillNeRFDataset('infos.pkl', str(root), image_size=(6, 10), render_size=(3, 5), **options)


def tokens(made: DistillNeRFDataset) -> list[str]:
    return [made.get_data_info(index)['token'] for index in range(len(made))]


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({}, 'a0 a1 a2 a3 b0 c0 c1 c2'),
        ({'every_nth': 3}, 'a0 a3 c1'),
        ({'indices': 2}, 'a0 a1'),
        ({'indices': [5, -1, 0]}, 'c0 c2 a0'),
        ({'require_lidar': True}, 'a0 a1 a3 b0 c0 c1 c2'),
        ({'test_mode': True, 'test_samples': 'second_of_scene'}, 'a1 c1'),
        ({'test_samples': 'second_of_scene'}, 'a0 a1 a2 a3 b0 c0 c1 c2'),
        ({'require_lidar': True, 'every_nth': 2, 'indices': 3}, 'a0 a3 c0'),
    ],
)
def test_options_choose_the_samples(root, options, expected):
    assert tokens(dataset(root, **options)) == expected.split()


def test_a_teacher_beside_a_data_root_that_is_a_link_is_found(root, tmp_path):
    """As create_data writes it: data/town -> /disk/town, and data/teacher beside the link."""
    (tmp_path / 'data/teacher').mkdir(parents=True)
    (tmp_path / 'data/town').symlink_to(root)
    options = {'data_prefix': {'teacher': '../teacher'}}
    assert dataset(tmp_path / 'data/town', **options).data_prefix['teacher'] == str(tmp_path / 'data/teacher')
    # Without a link, or where there is none, paths stay as they are written.
    assert dataset(root, **options).data_prefix['teacher'] == f'{root}/../teacher'
    (tmp_path / 'data/teacher').rmdir()
    assert dataset(tmp_path / 'data/town', **options).data_prefix['teacher'] == f'{tmp_path}/data/town/../teacher'


def test_a_subset_has_the_chosen_samples(root):
    made = dataset(root, every_nth=2)
    assert tokens(made) == ['a0', 'a2', 'b0', 'c1']
    assert tokens(made.get_subset(2)) == ['a0', 'a2'] and tokens(made.get_subset(-1)) == ['c1']
    assert tokens(made.get_subset([3, 1])) == ['c1', 'a2'] and len(made) == 4
    assert made.get_data_info(-1)['sample_idx'] == 3


def keys(info: dict) -> list[tuple[int, str]]:
    return info['target_keys']


@pytest.mark.parametrize(
    ('options', 'token', 'offsets'),
    [
        ({}, 'a1', (0,)),
        ({'all_prev_frames': True}, 'a2', (-2, -1, 0)),
        ({'all_prev_frames': True}, 'a1', (0, -1, 0)),
        ({'test_mode': True, 'add_next_frame_for_eval': True}, 'a1', (1, 0)),
        ({'test_mode': True, 'add_next_frame_for_eval': True}, 'a3', (0, 0)),
        ({'add_next_frame_for_eval': True}, 'a1', (0,)),
        ({'test_mode': True, 'training_target_smart_sample': True}, 'a1', (0,)),
    ],
)
def test_targets_come_frame_by_frame_the_current_one_last(root, options, token, offsets):
    made = dataset(root, cameras=['FRONT', 'LEFT'], **options)
    info = made.get_data_info(tokens(made).index(token))
    assert info['input_keys'] == [(0, 'FRONT'), (0, 'LEFT')]
    assert keys(info) == [(offset, camera) for offset in offsets for camera in ('FRONT', 'LEFT')]
    # Each view once, of its own keyframe.
    assert {(key[0], view['token']) for key, view in info['views'].items()} == {
        (offset, f'a{int(token[1]) + offset}') for offset in offsets
    }
    missing = [note for note in info['notes'] if 'does not exist' in note]
    assert len(missing) == 2 * (len(offsets) - len(set(offsets)))


def test_each_camera_has_a_neighbor_at_random(root):
    made = dataset(root, training_target_smart_sample=True)
    random.seed(0)
    drawn = [keys(made.get_data_info(1)) for _ in range(60)]
    assert {offset for targets in drawn for offset, _ in targets[:4]} == {-1, 1}
    assert all([camera for _, camera in targets] == [*CAMERAS, *CAMERAS] for targets in drawn)
    assert all(targets[4:] == [(0, camera) for camera in CAMERAS] for targets in drawn)
    # The only frame of its scene is repeated.
    assert keys(made.get_data_info(4)) == [(0, camera) for camera in (*CAMERAS, *CAMERAS)]


def test_poses_are_in_the_lidar_frame_of_the_current_keyframe(root):
    """The neighbor's cameras stand 10 m farther on, whatever the global frame."""
    made = dataset(root, test_mode=True, add_next_frame_for_eval=True)
    views = made.get_data_info(1)['views']
    for offset in (0, 1):
        for camera in CAMERAS:
            expected = pose(PLACES[camera], 10 * offset, YAWS[camera])
            np.testing.assert_allclose(views[offset, camera]['cam2world'], expected, atol=1e-9)


@pytest.mark.parametrize(
    ('count', 'expected'), [(1, ('FRONT',)), (2, ('FRONT', 'RIGHT')), (3, ('LEFT', 'FRONT', 'RIGHT')), (4, CAMERAS)]
)
def test_the_most_frontal_cameras_keep_their_order(root, count, expected):
    assert dataset(root, num_camera=count).cameras == expected


def test_a_dataset_is_read_again_with_other_options(root):
    made = dataset(root, num_camera=3)
    made.reload(num_camera=1, load_boxes=True)
    assert made.cameras == ('FRONT',) and 'boxes' in made.get_data_info(0)
    made.reload(num_camera=2)
    assert made.cameras == ('FRONT', 'RIGHT') and 'boxes' in made.get_data_info(0)
    with pytest.raises(InputError, match='num_camera is 0; give 1 or more'):
        made.reload(num_camera=0)


def test_a_dataset_is_not_read_again_with_the_same_options(root, monkeypatch):
    made = dataset(root, num_camera=1)
    monkeypatch.setattr(made, 'load_data_list', lambda: pytest.fail('read again'))
    made.reload()
    made.reload(num_camera=1, load_boxes=False)


def test_notes_say_which_lidar_takes_the_place_of_a_missing_one(root):
    one, two = (dataset(root, lidar_sweeps=count, load_boxes=True) for count in (1, 2))
    assert [len(made.get_data_info(0)['views'][0, 'FRONT']['lidar']) for made in (one, two)] == [1, 2]
    info = one.get_data_info(2)
    assert info['views'][0, 'FRONT']['lidar'] is None and info['notes'] == ['a2: has no LiDAR']
    helped = two.get_data_info(2)
    assert len(helped['views'][0, 'FRONT']['lidar']) == 1
    assert helped['notes'] == ['a2: has no LiDAR, that of -0.10 s is used']
    assert dataset(root, load_lidar=False).get_data_info(2)['notes'] == []
    boxes, names = info['boxes']
    assert boxes.tolist() == [[1, 2, 3, 4, 5, 6, 7, 0, 0]] and names == ('car',)
    assert info['lidar_range'] == 80.0 and dataset(root, lidar_range=50.0).get_data_info(0)['lidar_range'] == 50.0


def test_virtual_views_come_before_the_current_frame(root):
    options = {'virtual_img_target_smart_sample': True, 'training_target_smart_sample': True}
    made = dataset(root, cameras=['FRONT', 'LEFT'], **options)
    random.seed(1)
    seen = set()
    for _ in range(20):
        info = made.get_data_info(1)
        names = [name for _, name in keys(info)]
        assert names[:2] == names[4:] == ['FRONT', 'LEFT'] and len(names) == 6
        assert [name.split()[0] for name in names[2:4]] == ['FRONT', 'LEFT']
        seen |= {name.split()[1] for name in names[2:4]}
        assert all(offset == 0 for offset, _ in keys(info)[2:])
    assert seen == {'-1_0_0', '1_0_0'}
    up = dataset(root, virtual_img_target_smart_sample=True, enable_upward_virtual_cam=True)
    names = {name.split()[-1] for _ in range(20) for _, name in keys(up.get_data_info(0))[:4]}
    assert names == {'-1_0_0', '1_0_0', '0_-1_0'}
    assert len(keys(dataset(root, test_mode=True, virtual_img_target_smart_sample=True).get_data_info(0))) == 4


def test_random_choices_come_from_the_seed_of_the_index(root):
    made = dataset(root, training_target_smart_sample=True, pipeline=[keys])
    drawn = []
    for before in (1, 2):
        random.seed(before)
        drawn.append([made.prepare_data(SeededIndex(1, str(seed))) for seed in range(8)])
    assert drawn[0] == drawn[1] and len({str(targets) for targets in drawn[0]}) > 1


@pytest.mark.parametrize(
    ('options', 'word'),
    [
        ({'lidar_range': 1.0}, 'lidar_range is 1.0'),
        ({'lidar_sweeps': 0}, 'lidar_sweeps is 0'),
        ({'every_nth': 0}, 'every_nth is 0'),
        ({'indices': [8]}, 'no sample 8 among 8'),
        ({'indices': [-9]}, 'no sample -9 among 8'),
        ({'num_camera': 5}, 'only 4 cameras'),
        ({'cameras': ['TOP']}, 'has no camera TOP'),
        ({'cameras': ['TOP'], 'num_camera': 1}, 'has no camera TOP'),
        ({'all_prev_frames': True, 'training_target_smart_sample': True}, 'another choice of targets'),
        ({'virtual_img_target_smart_sample': True, 'load_features': True}, 'no features of virtual views'),
    ],
)
def test_wrong_options_are_refused(root, options, word):
    with pytest.raises(InputError, match=word):
        dataset(root, **options)


def test_features_of_virtual_views_are_read_where_they_are(root, tmp_path, capsys):
    """A teacher may have made some; with ``skip_missing`` the others are NaN."""
    options = {
        'cameras': ['FRONT'],
        'indices': [0],
        'virtual_img_target_smart_sample': True,
        'load_features': True,
        'data_prefix': {'features': str(tmp_path)},
        'pipeline': [{'type': 'LoadViews'}, {'type': 'LoadFeatures'}, {'type': 'PackViews'}],
    }
    files = {view: tmp_path / f'samples_{view}_0_0_0/FRONT/a0.npy' for view in ('-1_0_0', '1_0_0')}
    files['0_0_0'] = tmp_path / 'FRONT/a0.npy'
    for number, file in enumerate(files.values(), 1):
        file.parent.mkdir(parents=True)
        np.save(file, np.full((3, 5, 4), number, np.float16))
    made, seen = dataset(root, load_lidar=False, **options), {}
    for _ in range(20):
        views = made[0]['inputs']['target_views']
        assert views.names[1] == 'FRONT' and (views.features[1] == 3).all()
        seen[views.names[0]] = views.features[0].unique().tolist()
    assert seen == {'FRONT -1_0_0': [1], 'FRONT 1_0_0': [2]}
    assert 'virtual views' not in capsys.readouterr().err
    files['1_0_0'].unlink()
    with pytest.raises(InputError, match=f'{files["1_0_0"]}: no such file.*no features of virtual views'):
        dataset(root, load_lidar=False, **options)
    some = dataset(root, load_lidar=False, skip_missing=True, **options)
    assert '1 of 2 features of virtual views are missing' in capsys.readouterr().err
    for _ in range(20):
        views = some[0]['inputs']['target_views']
        assert views.features[0].isnan().all() == (views.names[0] == 'FRONT 1_0_0')
