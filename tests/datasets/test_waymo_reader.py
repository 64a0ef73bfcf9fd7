"""Waymo's TFRecords and range images: what is read is what was written, and what is wrong is refused."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from projects.DistillNeRF.datasets.converters.waymo import v1
from projects.DistillNeRF.datasets.converters.waymo.frames import CAMERAS, LASERS, Frame, LaserReturns, Wanted
from projects.DistillNeRF.datasets.converters.waymo.range_images import LASER_COLUMN, TIME_COLUMN, frame_points
from projects.DistillNeRF.datasets.converters.waymo.tfrecord import count_records, frame_record, read_records
from projects.DistillNeRF.geometry.poses import inverse_pose
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.waymo_frames import assert_same
from tests.helpers.waymo_surroundings import SPEED
from tests.helpers.waymo_world import NO_LABEL_COLUMNS, WaymoWorld
from verification.reference.waymo_records import file_name, write_segment

WORLD = WaymoWorld()
NUMBER = 3
EVERYTHING = Wanted(returns=2, camera_projections=True)


@pytest.fixture(scope='module')
def frame() -> Frame:
    return WORLD.frame(NUMBER)


def test_what_is_read_is_what_was_written(frame: Frame, tmp_path: Path) -> None:
    first = WORLD.frame(0)
    projections = np.arange(WORLD.rows * WORLD.columns * 6, dtype=np.int32).reshape(WORLD.rows, WORLD.columns, 6)
    top = frame.returns['TOP']
    more = LaserReturns(top.range_images, top.pixel_poses, projections - 50)
    written = Frame(**{**vars(frame), 'returns': {**frame.returns, 'TOP': more}})
    path = write_segment(tmp_path / file_name(WORLD.name), [first, written])
    found = list(v1.read_frames(path, EVERYTHING))
    assert [number for number, _ in found] == [0, 1]
    assert first.images['FRONT'].panoptic is not None and frame.images['FRONT'].panoptic is None
    assert_same(found[0][1], first)
    assert_same(found[1][1], written)
    assert v1.segment_name(path) == WORLD.name


def test_only_what_is_wanted_is_read(frame: Frame, tmp_path: Path) -> None:
    path = write_segment(tmp_path / 'a.tfrecord', [frame] * 3)
    ((number, found),) = v1.read_frames(path, Wanted(('SIDE_LEFT', 'FRONT'), returns=0), every=3)
    assert number == 0
    assert list(found.images) == list(found.cameras) == ['SIDE_LEFT', 'FRONT']
    assert found.returns == {}
    (_, found), *_ = v1.read_frames(path, Wanted())
    assert [len(measured.range_images) for measured in found.returns.values()] == [1] * len(LASERS)


def test_uncompressed_range_images_of_the_first_release(frame: Frame, tmp_path: Path) -> None:
    def change(message: Any, number: int) -> None:
        del number
        part, image = message.lasers[1].ri_return1, frame.returns['FRONT'].range_images[0]
        part.ClearField('range_image_compressed')
        part.range_image.data.extend(image.ravel().tolist())
        part.range_image.shape.dims.extend(image.shape)

    path = write_segment(tmp_path / 'a.tfrecord', [frame], change)
    ((_, found),) = v1.read_frames(path, Wanted())
    np.testing.assert_array_equal(found.returns['FRONT'].range_images[0], frame.returns['FRONT'].range_images[0])


def test_second_returns_are_an_option(frame: Frame) -> None:
    one, two = (frame_points(frame, returns, 'here').values for returns in (1, 2))
    expected = [sum((image[..., 0] > 0).sum() for image in laser.range_images[:1]) for laser in frame.returns.values()]
    expected[0] -= (frame.returns['TOP'].range_images[0][:, :NO_LABEL_COLUMNS, 0] > 0).sum()
    assert [(one[:, LASER_COLUMN] == number).sum() for number in range(len(LASERS))] == expected
    assert len(two) > len(one) + 500


def test_no_label_zones_are_left_out(frame: Frame) -> None:
    values = frame_points(frame, 1, 'here').values
    assert (frame.returns['TOP'].range_images[0][:, :NO_LABEL_COLUMNS, 0] > 0).any()
    # Column 0 looks back, first in time.
    first = values[values[:, LASER_COLUMN] == 0, TIME_COLUMN].min()
    assert first == pytest.approx(0.1 * ((NO_LABEL_COLUMNS + 0.5) / WORLD.columns - 0.5), abs=1e-7)


def test_beams_begin_at_the_lasers(frame: Frame) -> None:
    points = frame_points(frame, 1, 'here')
    times = np.array([-0.04, 0.0, 0.04])
    global2vehicle = inverse_pose(frame.vehicle2global)
    for number, name in enumerate(LASERS):
        moves = times if name == 'TOP' else np.zeros(3)
        for time in moves:
            at = global2vehicle @ WORLD.vehicle2global(0.1 * NUMBER + 0.05 + time) @ WORLD.laser(name).laser2vehicle
            found = points.origins[number] + time * points.velocities[number]
            np.testing.assert_allclose(found, at[:3, 3], atol=0.006)
    assert np.linalg.norm(points.velocities[0]) == pytest.approx(SPEED, rel=0.05)
    assert not points.velocities[1:].any()


@pytest.mark.parametrize('laser_name', ['TOP', 'REAR'])
def test_shapes_that_do_not_fit_are_refused(frame: Frame, laser_name: str) -> None:
    measured = frame.returns[laser_name]
    image = measured.range_images[0]
    wrong = [
        (LaserReturns([image[..., :3]], measured.pixel_poses), r'range image of shape \(\d+, \d+, 3\)'),
        (LaserReturns([image, image[1:]], measured.pixel_poses), 'its two range images differ'),
        (LaserReturns([image], np.zeros((2, 3, 6), np.float32)), r'poses of shape \(2, 3, 6\)'),
    ]
    if laser_name == 'TOP':
        wrong.append((LaserReturns([image[1:]], measured.pixel_poses[1:]), '24 inclinations .* of 23 rows'))
    for returns, message in wrong:
        broken = Frame(**{**vars(frame), 'returns': {laser_name: returns}})
        with pytest.raises(InputError, match=f'^here: laser {laser_name}: .*{message}'):
            frame_points(broken, 2, 'here')
    lasers = {name: laser for name, laser in frame.lasers.items() if name != laser_name}
    with pytest.raises(InputError, match=f'^here: laser {laser_name} has no calibration'):
        frame_points(Frame(**{**vars(frame), 'lasers': lasers}), 1, 'here')


# ---- framing


def test_a_known_record() -> None:
    """The bytes that TensorFlow writes for ``b'abc'``: CRC-32C of its length and of itself, masked."""
    crcs = [_slow_masked_crc(struct.pack('<Q', 3)), _slow_masked_crc(b'abc')]
    assert frame_record(b'abc') == struct.pack('<QI', 3, crcs[0]) + b'abc' + struct.pack('<I', crcs[1])
    assert _slow_crc(b'123456789') == 0xE3069283  # the check value of CRC-32C


def _slow_crc(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _slow_masked_crc(data: bytes) -> int:
    crc = _slow_crc(data)
    return ((crc >> 15 | crc << 17) & 0xFFFFFFFF) + 0xA282EAD8 & 0xFFFFFFFF


@pytest.fixture()
def records(tmp_path: Path) -> Path:
    path = tmp_path / 'a.tfrecord'
    path.write_bytes(b''.join(frame_record(data) for data in (b'first', b'second', b'', b'fourth')))
    return path


def test_records_are_read_and_counted(records: Path) -> None:
    assert list(read_records(records)) == [(0, b'first'), (1, b'second'), (2, b''), (3, b'fourth')]
    assert list(read_records(records, every=3)) == [(0, b'first'), (3, b'fourth')]
    assert count_records(records) == 4


@pytest.mark.parametrize(
    ('position', 'number', 'what'),
    [
        (0, 0, 'the checksum of its length'),
        (9, 0, 'the checksum of its length'),
        (14, 0, 'the checksum of its data'),
        (21 + 12 + 3, 1, 'the checksum of its data'),
        (21 + 12 + 6 + 1, 1, 'the checksum of its data'),
    ],
)
def test_a_changed_byte_is_found(records: Path, position: int, number: int, what: str) -> None:
    content = bytearray(records.read_bytes())
    content[position] ^= 4
    records.write_bytes(content)
    with pytest.raises(InputError, match=rf'a\.tfrecord: record {number}: {what}'):
        list(read_records(records))


@pytest.mark.parametrize('left', [1, 11, 12, 15, 20, 21 + 5, 21 + 22 + 14])
def test_a_file_that_ends_too_soon_is_found(records: Path, left: int) -> None:
    records.write_bytes(records.read_bytes()[:left])
    number = 0 if left < 21 else 1 if left < 21 + 22 else 2
    for read in (lambda: list(read_records(records)), lambda: count_records(records)):
        with pytest.raises(InputError, match=rf'a\.tfrecord: record {number}: is cut short'):
            read()


def test_files_that_are_no_records(tmp_path: Path) -> None:
    for content, message in ((b'', 'the file is empty'), (b'x' * 100, 'record 0: .* no TFRecord')):
        (tmp_path / 'a.tfrecord').write_bytes(content)
        with pytest.raises(InputError, match=rf'a\.tfrecord: {message}'):
            list(read_records(tmp_path / 'a.tfrecord'))
    (tmp_path / 'a.tfrecord').write_bytes(frame_record(b'\xff\xff no message'))
    with pytest.raises(InputError, match='record 0: holds no Frame message'):
        list(v1.read_frames(tmp_path / 'a.tfrecord', Wanted()))


# ---- messages


NAN = float('nan')
CHANGES = [
    (
        lambda message: message.context.camera_calibrations[0].intrinsic.__setitem__(4, NAN),
        'camera FRONT: its calibration holds NaN',
    ),
    (lambda message: message.laser_labels[1].box.ClearField('center_z'), 'box MOVING: lacks center_z'),
    (lambda message: message.laser_labels[1].ClearField('type'), 'box MOVING: lacks type'),
    (lambda message: setattr(message.laser_labels[0].box, 'heading', 90.0), 'box PARKED has heading 90, not radians'),
    (lambda message: setattr(message.laser_labels[0].box, 'length', NAN), 'box PARKED holds NaN'),
    (lambda message: message.camera_labels[0].labels[0].box.ClearField('width'), 'box drawn in its image: lacks width'),
    (
        lambda message: message.context.laser_calibrations[4].extrinsic.transform.__setitem__(3, -1160.0),
        'laser REAR: is 1160 m from the origin',
    ),
    (
        lambda message: message.context.laser_calibrations[1].ClearField('beam_inclination_min'),
        'laser FRONT: lacks beam_inclination_min',
    ),
    (
        lambda message: setattr(message.context.laser_calibrations[1], 'beam_inclination_max', -2.0),
        'laser FRONT: the incl',
    ),
    (lambda message: setattr(message.context.laser_calibrations[1], 'beam_inclination_min', 0.6), 'no rising angles'),
    (
        lambda message: message.context.laser_calibrations[0].beam_inclinations.__setitem__(3, NAN),
        'laser TOP: the inclinations',
    ),
    (lambda message: setattr(message.images[1].velocity, 'v_y', NAN), 'camera FRONT_LEFT: the velocity'),
    (lambda message: setattr(message.images[0], 'camera_trigger_time', 5.0), 'camera FRONT: the times of its shutter'),
    (
        lambda message: setattr(message.camera_labels[2].labels[0].box, 'width', NAN),
        'camera FRONT_RIGHT: a box in its image holds NaN',
    ),
    (lambda message: setattr(message.camera_labels[2], 'name', 0), 'unknown camera'),
    (lambda message: message.ClearField('pose'), 'the pose of the frame is missing'),
    (lambda message: message.pose.transform.pop(), 'the pose of the frame has 15 numbers, not 16'),
    (lambda message: message.pose.transform.__setitem__(0, 9.0), 'the pose of the frame has a rotation'),
    (lambda message: message.images[2].ClearField('pose'), 'camera FRONT_RIGHT: the pose of its image is missing'),
    (lambda message: setattr(message.lasers[0], 'name', 0), 'unknown laser'),
    (lambda message: setattr(message.images[0], 'name', 0), 'unknown camera'),
    (lambda message: message.ClearField('timestamp_micros'), 'has no time stamp'),
    (lambda message: setattr(message.context, 'name', '../up'), 'its segment is named'),
    (lambda message: message.context.camera_calibrations[1].intrinsic.pop(), 'camera FRONT_LEFT: its calibration'),
    (lambda message: message.context.laser_calibrations[4].extrinsic.Clear(), 'laser REAR: its pose on the vehicle'),
    (
        lambda message: setattr(message.lasers[0].ri_return1, 'range_image_compressed', b'no zlib'),
        'laser TOP: a compressed MatrixFloat cannot be decompressed',
    ),
    (
        lambda message: message.lasers[0].ri_return1.ClearField('range_image_pose_compressed'),
        'laser TOP: has no pose of each pixel',
    ),
]


@pytest.mark.parametrize(('change', 'what'), CHANGES, ids=[what for _, what in CHANGES])
def test_a_wrong_message_is_refused(frame: Frame, tmp_path: Path, change: Any, what: str) -> None:
    path = write_segment(tmp_path / 'a.tfrecord', [frame] * 2, lambda made, number: number and change(made))
    frames = v1.read_frames(path, Wanted())
    assert next(frames)[0] == 0
    with pytest.raises(InputError, match=rf'^\S*a\.tfrecord: record 1: .*{what}'):
        next(frames)


def test_cameras_that_are_not_there_are_not_made_up(frame: Frame, tmp_path: Path) -> None:
    path = write_segment(tmp_path / 'a.tfrecord', [frame], lambda made, _: made.images.__delitem__(1))
    ((_, found),) = v1.read_frames(path, Wanted())
    assert set(found.images) == set(CAMERAS) - {'FRONT_LEFT'}


def test_tensorflow_is_imported_nowhere(repo_root: Path, tmp_path: Path) -> None:
    """Reading a file imports no TensorFlow, though Waymo's package asks for it; and no source file names it."""
    path = write_segment(tmp_path / 'a.tfrecord', [WORLD.frame(0)])
    code = (
        'import sys\n'
        'sys.modules["tensorflow"] = None  # an import of it raises\n'
        'from pathlib import Path\n'
        'from projects.DistillNeRF.datasets.converters.waymo import convert, v1\n'
        'from projects.DistillNeRF.datasets.converters.waymo.frames import Wanted\n'
        f'((_, frame),) = v1.read_frames(Path({str(path)!r}), Wanted())\n'
        'print(len(frame.images), [name for name in sys.modules if name.partition(".")[0] in ("jax", "keras")])\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=repo_root, check=True)
    assert done.stdout == '5 []\n'
    sources = [*(repo_root / 'projects').rglob('*.py'), *(repo_root / 'tools').glob('*.py')]
    assert len(sources) > 100
    assert not [path for path in sources if 'import tensorflow' in path.read_text()]


def test_messages_that_are_not_installed(frame: Frame, tmp_path: Path, monkeypatch) -> None:
    path = write_segment(tmp_path / 'a.tfrecord', [frame])
    monkeypatch.setitem(sys.modules, 'waymo_open_dataset', None)
    with pytest.raises(InputError, match=f'python -m pip install --no-deps {v1.PACKAGE}'):
        list(v1.read_frames(path, Wanted()))
