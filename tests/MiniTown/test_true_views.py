"""A town built again shows what its files show, and the parallax of every motion."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from projects.DistillNeRF.utils.errors import InputError
from projects.MiniTown.rig import CAMERAS
from projects.MiniTown.true_views import TrueViews
from projects.MiniTown.truth import jpeg

pytestmark = pytest.mark.usefixtures('box_town')


def shift(x: float, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    motion = np.eye(4)
    motion[:3, 3] = x, y, z
    return motion


def stored(root: Path, scene: str, camera: str, keyframe: int) -> str:
    """Return the name of a stored image, without suffix."""
    return sorted(path.stem for path in (root / 'samples' / camera).glob(f'{scene}__*.jpg'))[keyframe]


@pytest.mark.parametrize('camera', [camera.name for camera in CAMERAS])
def test_without_motion_the_stored_files_are_seen(box_dataset, camera):
    for scene, keyframe in (('minitown-0001', 2), ('minitown-0002', 1)):
        seen = TrueViews(box_dataset).render(scene, keyframe, camera, np.eye(4))
        stem = stored(box_dataset, scene, camera, keyframe)
        image = np.array(Image.open(box_dataset / 'samples' / camera / f'{stem}.jpg'))
        assert np.array_equal(np.array(Image.open(io.BytesIO(jpeg(seen.rgb)))), image)
        depth = np.load(box_dataset / 'truth' / 'depth' / camera / f'{stem}.npy')
        assert np.array_equal(seen.depth.astype(np.float16), depth, equal_nan=True)


def test_the_stored_path_is_seen(box_dataset):
    (path,) = json.loads((box_dataset / 'truth' / 'left_right.json').read_text())
    truth, before = TrueViews(box_dataset), None
    for view in path['views'][::6]:
        seen = truth.render(path['scene'], 1, path['camera'], shift(view['offset']))
        depth = np.load(box_dataset / view['depth'])
        assert np.array_equal(seen.depth.astype(np.float16), depth, equal_nan=True)
        assert before is None or not np.array_equal(before, depth, equal_nan=True)
        before = depth


def test_a_turned_rig_sees_what_the_next_camera_saw(box_dataset):
    """55.9 degrees to the right the front camera looks along the front right one, to a degree."""
    turned, angle = np.eye(4), -np.radians(55.9)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    truth = TrueViews(box_dataset)
    front = truth.render('minitown-0001', 1, 'CAM_FRONT', turned).classes
    right = truth.render('minitown-0001', 1, 'CAM_FRONT_RIGHT', np.eye(4)).classes
    ahead = truth.render('minitown-0001', 1, 'CAM_FRONT', np.eye(4)).classes
    assert (front == right).mean() > 0.9 > (ahead == right).mean()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('minitown-0003', 0, 'CAM_FRONT'), 'no scene of this MiniTown; it has minitown-0001 to minitown-0002'),
        (('minitown-0001', 3, 'CAM_FRONT'), 'key frames 0 to 2'),
        (('minitown-0001', 0, 'FRONT'), 'FRONT: no camera of MiniTown; its cameras are CAM_FRONT, '),
    ],
)
def test_unknown_scenes_key_frames_and_cameras_are_refused(box_dataset, arguments, message):
    with pytest.raises(InputError, match=message):
        TrueViews(box_dataset).render(*arguments, np.eye(4))


def test_folders_without_a_town_are_refused(box_dataset, tmp_path):
    with pytest.raises(InputError, match=r'minitown.json: no such file.*create_data'):
        TrueViews(tmp_path)
    shutil.copy(box_dataset / 'minitown.json', tmp_path)
    settings = json.loads((tmp_path / 'minitown.json').read_text())
    settings.pop('seed')
    (tmp_path / 'minitown.json').write_text(json.dumps(settings))
    with pytest.raises(InputError, match='does not name all of scenes, seed'):
        TrueViews(tmp_path)
