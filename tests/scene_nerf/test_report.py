"""The report of a teacher: JSON, one page that needs no other file, a video; with color and without."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from projects.DistillNeRF.scene_nerf.flight import HEIGHT, flight, picture, write_flight
from projects.DistillNeRF.scene_nerf.report import JSON, PAGE, VIDEO, ReportOptions, measure, write_report
from projects.DistillNeRF.visualization.colors import UNKNOWN_COLOR
from tests.helpers.boxtown import SMALL
from tests.helpers.oracle import Oracle, town_drive

SIZE = (SMALL['height'], SMALL['width'])


@pytest.fixture(scope='module')
def drive(town):
    return town_drive(town)


@pytest.fixture(scope='module')
def written(drive, tmp_path_factory):
    """Report of an oracle; tests must not change it."""
    folder = tmp_path_factory.mktemp('report') / 'scene'
    options = ReportOptions(SIZE, (1,), (1, 2), 'An <oracle>', {'psnr': [(10, 20.0), (20, 25.0)]})
    return folder, write_report(folder, Oracle(drive), drive, options)


def test_all_figures_are_in_the_json(written, drive):
    folder, figures = written
    assert json.loads((folder / JSON).read_text()) == figures
    assert figures['scene'] == drive.scene and figures['lacks'] == []
    assert figures['images']['psnr'] > 35 and set(figures['images']['cameras']) == set(drive.cameras)
    assert figures['depth']['visible']['median'] < 0.01
    assert set(figures['depth_per_frame']) == {'1', '2'}
    assert [one['frame'] for one in figures['per_image']] == [1] * 6
    assert figures['curves'] == {'psnr': [[10, 20.0], [20, 25.0]]}


def test_the_page_needs_no_other_file(written):
    text = (written[0] / PAGE).read_text()
    assert 'An &lt;oracle&gt;' in text and '<oracle>' not in text
    sources = re.findall(r'<(?:img|video|script|link)[^>]* (?:src|href)="([^"]{1,30})', text)
    assert len(sources) == 2 and all(source.startswith('data:') for source in sources)
    for words in ('PSNR over the drive', 'AbsRel over the drive', 'Keyframe 1', 'points that the camera can see'):
        assert words in text


def test_the_flight_is_a_video_of_color_over_depth(written):
    reader = imageio_ffmpeg.read_frames(str(written[0] / VIDEO))
    assert tuple(next(reader)['size']) == (SIZE[1], 2 * SIZE[0])
    frames = [np.frombuffer(frame, np.uint8) for frame in reader]
    assert len(frames) == 11 and frames[0].std() > 10 and not np.array_equal(frames[0], frames[-1])


def test_a_flight_goes_above_the_road_camera(drive):
    cameras, times = flight(drive, SIZE)
    front = [image for image in drive.images if image.camera == 'CAM_FRONT' and image.frame is not None]
    assert len(cameras) == len(times) == 11
    ends = np.stack([front[0].cam2scene[:3, 3], front[-1].cam2scene[:3, 3]])
    moved = cameras.cam2world[[0, -1], :3, 3].numpy()
    np.testing.assert_allclose(moved - ends, [[0, 0, HEIGHT]] * 2, atol=1e-9)
    down = cameras.cam2world[0, :3, 2].numpy() - front[0].cam2scene[:3, 2]
    assert down[2] == pytest.approx(-math.sin(math.radians(8)), abs=1e-3)
    torch.testing.assert_close(torch.linalg.det(cameras.cam2world[:, :3, :3]), torch.ones(11, dtype=torch.float64))


def test_a_teacher_without_color_has_a_report_that_says_so(drive, tmp_path):
    figures = write_report(tmp_path, Oracle(drive, color=False), drive, ReportOptions(SIZE, (1,), (1,)))
    assert figures['images'] is None and figures['depth']['all']['points'] > 500
    assert figures['lacks'] == ['this teacher has no color: no PSNR and no SSIM']
    assert 'no color' in (tmp_path / PAGE).read_text()
    size = next(imageio_ffmpeg.read_frames(str(tmp_path / VIDEO)))['size']
    assert tuple(size) == (SIZE[1], SIZE[0])


def test_nothing_kept_out_is_no_error(drive):
    report = measure(Oracle(drive), drive, ReportOptions(SIZE))
    assert [lack.partition(' were')[0].partition(' was')[0] for lack in report.lacks] == ['no images', 'no LiDAR']
    assert list(report.pictures) == ['Keyframe 0, 0.0 s', 'Keyframe 1, 0.5 s', 'Keyframe 2, 1.0 s']
    json.dumps(report.figures(drive, ReportOptions(SIZE)), allow_nan=False)


def test_a_teacher_that_knows_nothing_has_a_report(drive, tmp_path):
    options = ReportOptions(SIZE, (1,), (1,), video=False)
    figures = write_report(tmp_path, Oracle(drive, blind=1.0), drive, options)
    assert figures['depth']['all'] == {'points': figures['depth']['all']['points'], 'known': 0.0}
    assert not (tmp_path / VIDEO).exists() and (tmp_path / PAGE).is_file()


def test_what_is_unknown_is_gray(drive):
    camera = drive.images[0].camera_at(*SIZE)
    drawn = picture(Oracle(drive, blind=0.3).render(camera, drive.images[0].timestamp))
    assert drawn.shape == (2 * SIZE[0], SIZE[1], 3)
    assert (drawn[:, :30] == UNKNOWN_COLOR).all() and not (drawn[:, 30:] == UNKNOWN_COLOR).all()


def test_a_drive_of_one_keyframe_has_a_flight_of_one_picture(drive, tmp_path):
    first = tuple(image for image in drive.images if image.frame == 0)
    short = dataclasses.replace(drive, images=first)
    assert write_flight(tmp_path / 'one.mp4', Oracle(drive), short, SIZE) == 1


def test_features_are_compared_and_shown(drive, tmp_path):
    """With maps of the images that were kept out, in the colors of their main components."""

    class Seeing(Oracle):
        def render(self, cameras, timestamp, recorded=()):
            seen = super().render(cameras, timestamp, recorded)
            features = torch.zeros(len(cameras), 64, 7, 10)
            features[:, 0], features[:, 1, :, 5:] = 1.0, 1.0
            features[:, :, 0, 0] = torch.nan
            return dataclasses.replace(seen, features=features)

    truth = np.zeros((7, 10, 64), np.float16)
    truth[..., 0] = 2.0
    for image in drive.images:
        if image.frame == 1 and image.camera != 'CAM_BACK':
            (tmp_path / image.features).parent.mkdir(exist_ok=True)
            np.save(tmp_path / image.features, truth)
    options = ReportOptions(SIZE, (1,), (1,), video=False, features=str(tmp_path))
    figures = write_report(tmp_path / 'report', Seeing(drive), drive, options)
    assert figures['features']['count'] == 5 and set(figures['features']['cameras']) == set(drive.cameras) - {
        'CAM_BACK'
    }
    assert figures['features']['cosine'] == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert 'Features of images that were kept out' in (tmp_path / 'report' / PAGE).read_text()
    plain = measure(Oracle(drive), drive, options)
    assert 'features' not in plain.figures(drive, options)
    (picture,) = plain.pictures.values()
    (with_features,) = measure(Seeing(drive), drive, options).pictures.values()
    assert len(with_features) > len(picture)
