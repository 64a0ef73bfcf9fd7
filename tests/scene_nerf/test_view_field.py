"""What the viewer shows of the field of a drive: its keyframes, its parts, strips of pictures, and wrong input."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from projects.DistillNeRF.engine.view_field import DriveTimes, FieldParts, config_beside
from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.scene_nerf.drive import DriveImage
from projects.DistillNeRF.scene_nerf.field_teacher import FieldTeacher
from projects.DistillNeRF.scene_nerf.seen_space import SeenSpace
from projects.DistillNeRF.utils.errors import InputError
from projects.DistillNeRF.visualization.colors import SKY_COLOR, UNKNOWN_COLOR
from projects.DistillNeRF.visualization.viewer.colorizer import DEPTH, RGB
from projects.DistillNeRF.visualization.viewer.field_session import MOVING, SKY, STATIC, UNSEEN, FieldSession, strips
from projects.DistillNeRF.visualization.viewer.viewpoints import look_from
from tests.helpers.commands import run
from tests.helpers.data import ROOT
from tests.helpers.fields import add_things, flat_pose, red_block, thing
from tests.helpers.oracle import town_drive
from tests.helpers.refusals import assert_refused

ENTRY = ROOT / 'projects/DistillNeRF/configs/model_wrapper/scene_nerf_minitown.py'
SIZE = (28, 50)
GRAY = torch.tensor(UNKNOWN_COLOR) / 255
NOTHING: frozenset[str] = frozenset()


@pytest.fixture
def teacher(town) -> FieldTeacher:
    drive = town_drive(town)
    return FieldTeacher(red_block(len(drive.images)), drive.images, SIZE)


def camera(position: tuple[float, float, float] = (0, 0, 0), rows: int = 21) -> Cameras:
    """A camera that looks at the block."""
    return look_from(position, (0, 7, 0), 1.0).cameras(rows, 1, torch.zeros(()))


def middle(image: torch.Tensor) -> torch.Tensor:
    return image[..., image.shape[-2] // 2, image.shape[-1] // 2]


@torch.no_grad()
def test_parts_are_hidden_one_by_one(teacher):
    parts = FieldParts(teacher)
    assert parts.names == (STATIC, SKY)
    red, green = torch.eye(3)[:2]
    for hidden, block_color, sky_color in (
        (NOTHING, red, green),
        ({STATIC}, green, green),
        ({SKY}, red, GRAY),
        ({STATIC, SKY}, GRAY, GRAY),
    ):
        seen = parts.render(0.0, camera(), frozenset(hidden))
        torch.testing.assert_close(middle(seen.rgb), block_color, atol=0.02, rtol=0)
        torch.testing.assert_close(seen.rgb[:, 0, 0], sky_color, atol=0.02, rtol=0)
        if STATIC in hidden:
            assert seen.depth.isnan().all() and (seen.sky == 1).all()
        else:
            assert middle(seen.depth) == pytest.approx(6, abs=0.5) and middle(seen.sky) < 0.01
    assert len(teacher.field.cells.grid) == 8 and teacher.warp


@torch.no_grad()
@pytest.mark.parametrize('position', [(60, 7, 0), (0, -90, 30), (-5, 200, 5), (0, 7, 0.5)])
def test_a_camera_may_stand_anywhere(teacher, position):
    """Outside of the boxes, and within the block."""
    view = look_from(position, (0, 7.001, 0), 0.01).cameras(9, 1, torch.zeros(()))
    seen = FieldParts(teacher).render(0.0, view, NOTHING)
    assert seen.rgb.isfinite().all()
    assert middle(seen.rgb)[0] > 0.9
    distance = float(np.linalg.norm(np.subtract(position, (0, 7, 0))))
    assert middle(seen.depth) == pytest.approx(distance, abs=2)


@torch.no_grad()
def test_what_moves_can_be_hidden(teacher):
    add_things(teacher.field, (-9.0, -9.0, 9.0), thing((0.0, flat_pose(0.0, 0, 3, 0)), (1.0, flat_pose(0.0, 9, 3, 0))))
    parts = FieldParts(teacher)
    assert parts.names == (STATIC, MOVING, SKY)
    red, green, blue = torch.eye(3)
    for time, hidden, color, depth in (
        (0.0, NOTHING, blue, 1),
        (1.0, NOTHING, red, 6),
        (0.0, {MOVING}, red, 6),
        (0.0, {STATIC}, blue, 1),
        (0.0, {STATIC, MOVING}, green, None),
    ):
        seen = parts.render(time, camera(), frozenset(hidden))
        torch.testing.assert_close(middle(seen.rgb), color, atol=0.02, rtol=0)
        assert middle(seen.depth).isnan() if depth is None else middle(seen.depth) == pytest.approx(depth, abs=0.5)


@torch.no_grad()
def test_what_no_image_saw_is_gray_when_it_is_hidden(teacher):
    boxes = replace(teacher.field.cells.grid.boxes, sizes=torch.tensor([2.0]))
    seen = SeenSpace(boxes)
    looking = camera(rows=9)
    origin, directions = looking.rays(9, 16)
    # An image saw the right half.
    half = directions[:, :, 8:].reshape(-1, 3)
    seen.mark(origin.expand_as(half).contiguous(), half.contiguous(), torch.full((len(half),), 50.0))
    parts = FieldParts(replace(teacher, seen=seen))
    assert parts.names == (STATIC, SKY, UNSEEN)
    assert torch.equal(parts.render(0.0, looking, NOTHING).rgb, FieldParts(teacher).render(0.0, looking, NOTHING).rgb)
    shown = parts.render(0.0, looking, frozenset({UNSEEN}))
    red, green = torch.eye(3)[:2]
    for column, color in ((0, GRAY), (3, GRAY), (8, red), (15, green)):
        torch.testing.assert_close(shown.rgb[:, 4, column], color, atol=0.02, rtol=0)
    assert shown.depth[4, 3].isnan() and shown.sky[4, 3] == 0 and shown.sky[4, 15] > 0.99
    # A teacher knows neither depth nor color there.
    known = replace(teacher, seen=seen, warp=False).render(looking, 0.0)
    assert known.image[0, :, 4, 3].isnan().all() and known.depth[0, 4, 3].isnan() and known.sky[0, 4, 3] == 0
    assert known.image[0, :, 4, 8:].isfinite().all()
    both = parts.render(0.0, looking, frozenset({UNSEEN, STATIC}))
    torch.testing.assert_close(both.rgb[:, 4, 8], green, atol=0.02, rtol=0)
    torch.testing.assert_close(both.rgb[:, 4, 3], GRAY, atol=0.02, rtol=0)


@torch.no_grad()
def test_strips_make_the_whole_picture(teacher):
    view = camera((1, 0, 0.5), rows=23)
    parts = list(strips(view, 4 * view.width))
    assert [part.height for part in parts] == [4] * 5 + [3]
    render = partial(FieldParts(teacher).render, 0.0)
    whole, cut = render(view, NOTHING), [render(part, NOTHING) for part in parts]
    torch.testing.assert_close(torch.cat([one.rgb for one in cut], 1), whole.rgb, atol=1e-4, rtol=0)
    depth = torch.cat([one.depth for one in cut])
    torch.testing.assert_close(depth, whole.depth, atol=1e-3, rtol=0, equal_nan=True)


@torch.no_grad()
def test_keyframes_are_times_with_their_cameras_and_images(teacher, town):
    # Every time has its own exposures.
    teacher.field.exposure += 0.1 * torch.randn(
        teacher.field.exposure.shape, generator=torch.Generator().manual_seed(0)
    )
    drive = town_drive(town)
    source = DriveTimes(teacher, drive)
    assert len(source) == len(drive.keyframes) == 3
    for number, frame in enumerate(drive.keyframes):
        viewed = source.load(number)
        images = {image.camera: image for image in drive.images if image.frame == frame}
        assert set(viewed.names) == set(images) and len(viewed.cameras) == len(images)
        for name, pose, image in zip(viewed.names, viewed.cameras.cam2world, viewed.images, strict=True):
            np.testing.assert_allclose(pose, images[name].cam2scene, atol=1e-5)
            np.testing.assert_array_equal(image, images[name].read(*SIZE))
        assert viewed.front.cam2world[1, 2] > 0.9
        first = min(image.timestamp for image in drive.images if image.frame == drive.keyframes[0])
        front = next(
            image for image in images.values() if np.allclose(image.cam2scene, viewed.front.cam2world, atol=1e-5)
        )
        assert viewed.title == f'minitown-0001 frame {frame}, {front.timestamp - first:.2f} s'
        seen = viewed.render(viewed.cameras[:1], NOTHING)
        expected = replace(teacher, warp=False).render(viewed.cameras[:1], front.timestamp)
        torch.testing.assert_close(seen.rgb, expected.image[0])
    for wrong in (-1, 3):
        with pytest.raises(InputError, match=f'sample {wrong}: the drive has keyframes 0 to 2'):
            source.load(wrong)


@torch.no_grad()
def test_pictures_get_finer_and_show_color_or_depth(teacher, town):
    session = FieldSession(DriveTimes(teacher, town_drive(town)).load(0))
    view = look_from((0, 0, 0), (0, 7, 0), 1.0)
    shown = [picture for picture in session.pictures(view, RGB, None, (9, 21)) if picture is not None]
    assert [(one.rows, one.columns, one.image.shape) for one in shown] == [(9, 16, (9, 16, 3)), (21, 37, (21, 37, 3))]
    np.testing.assert_allclose(shown[1].image[10, 18], (255, 0, 0), atol=5)
    np.testing.assert_allclose(shown[1].image[0, 0], (0, 255, 0), atol=5)
    *_, depth = session.pictures(view, DEPTH, None, (21,))
    assert tuple(depth.image[0, 0]) == SKY_COLOR and tuple(depth.image[10, 18]) != SKY_COLOR
    assert session.colorizer.unavailable_reason(RGB) is None
    with pytest.raises(InputError, match='no features'):
        session.colorizer.query('road')


def refused(*arguments: object) -> str:
    return assert_refused(run('viewer', *arguments))


def test_wrong_input_is_refused_in_one_line(project, town, tmp_path):
    field = tmp_path / 'field.pth'
    assert 'field.pth: no such file' in refused(ENTRY, '--scene-nerf', field)
    student = tmp_path / 'student.pth'
    torch.save({'state_dict': {'network.voxel_net.weight': torch.zeros(3)}}, student)
    assert 'no config beside it' in refused('--scene-nerf', student)
    assert 'has no scene_nerf' in refused(project.config, '--scene-nerf', student)
    roots = [f'scene_nerf.roots.{kind}={town}' for kind in ('img', 'lidar', 'truth')]
    files = ','.join(str(town / f'minitown_infos_{split}.pkl') for split in ('train', 'val'))
    options = ('--cfg-options', 'scene_nerf.scene=minitown-0001', f'scene_nerf.ann_files=[{files}]', *roots)
    assert 'student.pth: none of a scene NeRF' in refused(ENTRY, '--scene-nerf', student, *options)
    assert 'nowhere' in refused(ENTRY, '--scene-nerf', student, *options, 'scene_nerf.scene=nowhere')
    assert 'leave one of the two away' in refused(ENTRY, student, '--scene-nerf', student)
    assert '--scene would do nothing' in refused('--scene-nerf', student, '--scene', student)
    assert '--data would do nothing' in refused(ENTRY, '--scene-nerf', student, '--data', tmp_path)
    assert 'leave --precision' in refused(ENTRY, '--scene-nerf', student, '--precision', 'bf16')


def test_the_config_beside_a_checkpoint_is_found(tmp_path):
    checkpoint = tmp_path / 'iter_1.pth'
    assert_refused(partial(config_beside, checkpoint), 'no config beside it')
    (tmp_path / 'a.py').touch()
    assert config_beside(checkpoint) == tmp_path / 'a.py'
    (tmp_path / 'b.py').touch()
    assert_refused(partial(config_beside, checkpoint), 'several configs (a.py, b.py)')


def test_the_view_of_a_training_image_is_not_rendered_twice(teacher, monkeypatch):
    """Only a view that is just the same is kept as what the image shows: of its camera, place, time and size."""
    image = teacher.images[0]
    own = image.camera_at(*SIZE)
    beside = own.cam2world.clone()
    beside[:, 0, 3] += 0.5
    depth, moving = replace(teacher, _rendered=OrderedDict())._maps(0)
    rendered = []
    view = FieldTeacher._view
    monkeypatch.setattr(FieldTeacher, '_view', lambda *args: (rendered.append(1), view(*args))[1])

    def maps_after(cameras: Cameras, timestamp: float, recorded: DriveImage | None) -> int:
        one = replace(teacher, warp=False, _rendered=OrderedDict())
        one.render(cameras, timestamp, [recorded])
        rendered.clear()
        found = one._maps(0)
        torch.testing.assert_close(found[0], depth, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(found[1], moving, rtol=0, atol=0)
        return len(rendered)

    assert maps_after(own, image.timestamp, image) == 0
    assert maps_after(own, image.timestamp, None) == 1
    assert maps_after(own, image.timestamp + 0.1, image) == 1
    assert maps_after(replace(own, cam2world=beside), image.timestamp, image) == 1
    assert maps_after(image.camera_at(SIZE[0] - 1, SIZE[1]), image.timestamp, image) == 1
    assert maps_after(teacher.images[1].camera_at(*SIZE), image.timestamp, teacher.images[1]) == 1
