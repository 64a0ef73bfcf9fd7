"""What names of files tell: whose they are, and of when."""

from __future__ import annotations

import pytest

from projects.DistillNeRF.datasets.named_files import check_files_are_named_once, check_named_files
from projects.DistillNeRF.utils.errors import InputError


def infos() -> list[dict]:
    """Three keyframes of two cameras with names as those of nuScenes."""
    made = []
    for frame in range(3):
        time, digits = 100.0 + frame, 100_000_000 + frame * 1_000_000
        images = {
            camera: {'img_path': f'samples/{camera}/x__{camera}__{digits}.jpg', 'timestamp': time}
            for camera in ('FRONT', 'BACK')
        }
        lidar = {'lidar_path': f'samples/TOP/x__TOP__{digits}.pcd.bin'}
        made.append({'token': f't{frame}', 'timestamp': time, 'images': images, 'lidar_points': lidar})
    return made


def said(capsys, changed: list[dict]) -> str:
    check_named_files(changed, ['k0', 'k1', 'k2'], 'hint')
    return capsys.readouterr().err


def test_names_that_fit_give_no_warning(capsys):
    assert said(capsys, infos()) == ''
    free = infos()
    for info in free:
        for camera, image in info['images'].items():
            image['img_path'] = f'{camera[0]}/{info["token"]}.jpg'
        info['lidar_points'] = None
    assert said(capsys, free) == '', 'names of files are free'


def test_a_file_of_another_camera_is_a_warning(capsys):
    changed = infos()
    changed[1]['images']['FRONT']['img_path'] = changed[1]['images']['BACK']['img_path']
    text = said(capsys, changed)
    assert 'k1, FRONT: its image samples/BACK/' in text and 'folder of camera BACK; so do 1 of 6' in text


def test_a_file_in_no_folder_of_its_camera_is_a_warning(capsys):
    changed = infos()
    changed[2]['images']['SIDE'] = changed[2]['images'].pop('FRONT')
    assert 'k2, SIDE: samples/FRONT/x__FRONT__102000000.jpg does not lie' in said(capsys, changed)


def test_a_file_of_another_time_is_a_warning(capsys):
    changed = infos()
    first, last = changed[0]['lidar_points'], changed[2]['lidar_points']
    first['lidar_path'], last['lidar_path'] = last['lidar_path'], first['lidar_path']
    assert 'carries a time +2.000 s off that of its record (so do 2 of 9 files)' in said(capsys, changed)
    for info in changed:
        info['timestamp'] += 7.0
        for image in info['images'].values():
            image['timestamp'] += 7.0
    assert '+2.000 s' in said(capsys, changed), 'clocks may differ'


@pytest.mark.parametrize('name', ['', None, 7, ['a']])
def test_what_is_not_the_name_of_a_file_is_refused(name):
    changed = infos()
    changed[1]['images']['BACK']['teacher'] = {'depth': name}
    with pytest.raises(InputError, match=r'sample t1, BACK: teacher depth is .* not the name of a file'):
        check_files_are_named_once(changed, 'infos.pkl', 'hint')
