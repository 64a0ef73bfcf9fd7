"""Image files of every kind: one size, one set of pixels, whole or refused, and values that can be what was seen."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from projects.DistillNeRF.datasets.converters import nuscenes, pandaset
from projects.DistillNeRF.datasets.converters.common import image_size
from projects.DistillNeRF.datasets.image_files import exposure_doubt, read_header, read_image
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.boxworld import BoxWorld
from tests.helpers.rawdata import pandaset_world, write_nuscenes, write_pandaset

HEIGHT, WIDTH = 48, 80


def picture() -> np.ndarray:
    """``(H, W, 3)`` RGB whose quarters differ: red, green, blue and gray, with a smooth slope."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:24, :40, 0], image[:24, 40:, 1], image[24:, :40, 2], image[24:, 40:] = 220, 200, 240, 120
    return image + np.arange(10, dtype=np.uint8).repeat(8)[None, :, None]


def encoded(form: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture()).save(file, form, **options)
    return file.getvalue()


LOSSLESS = {'WEBP': {'lossless': True, 'exact': True}}


def assert_is_the_picture(path: Path) -> None:
    """Stored pixels, up to what lossy formats change; both readers of one size."""
    found = read_image(path)[..., ::-1].astype(int)
    assert found.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(found - picture()).mean() < 8
    assert image_size(path) == (HEIGHT, WIDTH)


# Orientation.


@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'WEBP'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_pixels_are_taken_as_they_are_stored(tmp_path, form, orientation):
    tag = Image.Exif()
    tag[0x0112] = orientation
    path = tmp_path / 'image'
    path.write_bytes(encoded(form, exif=tag, **LOSSLESS.get(form, {})))
    assert_is_the_picture(path)
    assert read_header(path).orientation == orientation


def test_a_turned_tiff_is_refused_by_both_readers(tmp_path):
    path = tmp_path / 'image.tiff'
    path.write_bytes(encoded('TIFF', tiffinfo={0x0112: 6}))
    for read in (read_image, image_size):
        with pytest.raises(InputError, match='orientation 6; store it as the calibrated camera sees it'):
            read(path)
    path.write_bytes(encoded('TIFF', tiffinfo={0x0112: 1}))
    assert_is_the_picture(path)


def test_a_damaged_note_does_not_spoil_an_image(tmp_path):
    path = tmp_path / 'image.jpg'
    path.write_bytes(encoded('JPEG', exif=b'Exif\0\0II*\0\xff\xff\xff\xff'))
    assert_is_the_picture(path)


@pytest.mark.parametrize('mode', ['L', 'P', 'RGBA', 'LA', '1', 'CMYK'])
def test_other_modes_have_the_colors_that_pillow_sees(tmp_path, mode):
    path = tmp_path / 'image'
    image = Image.fromarray(picture()).convert(mode)
    image.save(path, 'JPEG' if mode == 'CMYK' else 'PNG')
    expected = np.array(Image.open(path).convert('RGB')).astype(int)
    assert np.abs(read_image(path)[..., ::-1] - expected).max() <= 2
    assert image_size(path) == (HEIGHT, WIDTH)


def test_transparency_is_left_out(tmp_path):
    image = np.dstack([picture(), np.full((HEIGHT, WIDTH), 0, np.uint8)])
    Image.fromarray(image).save(tmp_path / 'image.png')
    assert np.array_equal(read_image(tmp_path / 'image.png')[..., ::-1], picture())


# Whole or not.


def mpo() -> bytes:
    """Two pictures in one file, as some cameras write their previews."""
    file = io.BytesIO()
    small = Image.fromarray(picture()[:20, :30])
    Image.fromarray(picture()).save(file, 'MPO', save_all=True, append_images=[small])
    return file.getvalue()


WHOLE = {
    'baseline': lambda: encoded('JPEG'),
    'progressive': lambda: encoded('JPEG', progressive=True),
    'restart marks': lambda: cv2.imencode('.jpg', picture()[..., ::-1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[
        1
    ].tobytes(),
    'png': lambda: encoded('PNG'),
    'two pictures': mpo,
}


@pytest.mark.parametrize('kind', WHOLE)
@pytest.mark.parametrize('rest', [b'\0' * 5000, b'\xff\xd8 no end, ' * 500, b'IEND' * 600, b'\n'])
def test_what_follows_an_image_does_not_matter(tmp_path, kind, rest):
    path = tmp_path / 'image'
    path.write_bytes(WHOLE[kind]())
    before = read_image(path)
    path.write_bytes(WHOLE[kind]() + rest)
    assert np.array_equal(read_image(path), before)
    assert image_size(path) == (HEIGHT, WIDTH)


@pytest.mark.parametrize('kind', ['baseline', 'progressive', 'restart marks', 'png'])
@pytest.mark.parametrize('left', [0.1, 0.5, 0.9])
def test_what_is_cut_short_is_refused(tmp_path, kind, left):
    content = WHOLE[kind]()
    path = tmp_path / 'image'
    for rest in (b'', b'\0' * 3000):
        path.write_bytes(content[: int(len(content) * left)] + rest)
        with pytest.raises(InputError, match=r'cut short|not a readable image') as error:
            read_image(path)
        assert str(path) in str(error.value)
    path.write_bytes(content[:-1])
    with pytest.raises(InputError, match=r'cut short'):
        read_image(path)


def test_the_end_of_a_thumbnail_is_not_that_of_its_image(tmp_path):
    tag = Image.Exif()
    content = encoded('JPEG', exif=tag.tobytes() + encoded('JPEG'))
    path = tmp_path / 'image.jpg'
    path.write_bytes(content)
    assert_is_the_picture(path)
    path.write_bytes(content[:-20])
    with pytest.raises(InputError, match='cut short'):
        read_image(path)


# Values.


def bits(count: int) -> np.ndarray:
    """The picture as a sensor of so many bits gives it, uint16."""
    return (picture().astype(np.float64) / 255 * (2**count - 1)).round().astype(np.uint16)


@pytest.mark.parametrize('suffix', ['png', 'tiff', 'ppm'])
def test_sixteen_bits_become_eight_by_one_factor(tmp_path, suffix):
    path = tmp_path / f'image.{suffix}'
    cv2.imwrite(str(path), bits(16)[..., ::-1])
    assert np.abs(read_image(path)[..., ::-1].astype(int) - picture()).max() <= 1
    assert read_header(path).deep


@pytest.mark.parametrize(('count', 'divisor'), [(8, 1), (10, 4), (12, 16), (14, 64)])
@pytest.mark.parametrize('suffix', ['png', 'tiff'])
def test_unscaled_values_of_fewer_bits_are_refused(tmp_path, suffix, count, divisor):
    path = tmp_path / f'image.{suffix}'
    cv2.imwrite(str(path), bits(count)[..., ::-1])
    with pytest.raises(InputError, match=rf'unscaled values of {count} bits do; .*divided by {divisor}\)'):
        read_image(path)
    # The hint helps.
    cv2.imwrite(str(path), (bits(count) // divisor).astype(np.uint8)[..., ::-1])
    assert np.abs(read_image(path)[..., ::-1].astype(int) - picture()).max() <= 1


@pytest.mark.parametrize('suffix', ['tiff', 'hdr'])
def test_floating_point_is_refused(tmp_path, suffix):
    path = tmp_path / f'image.{suffix}'
    cv2.imwrite(str(path), picture().astype(np.float32) / 255)
    for read in (read_image, image_size):
        with pytest.raises(InputError, match='float32; store all images with 8 bits per channel'):
            read(path)


def test_images_nearly_black_or_mostly_white_are_doubted():
    assert exposure_doubt(picture()) is None
    assert exposure_doubt(picture() // 16) == 'nearly black'
    assert exposure_doubt(np.full((9, 9, 3), 255, np.uint8)) == 'more than half white'
    # A street at night: dark, with lamps.
    night = picture() // 16
    night[10:14, 10:30] = 200
    assert exposure_doubt(night) is None


# Conversions look at all of this before they write.


@pytest.fixture
def sequence(tmp_path) -> Path:
    """PandaSet with one sequence of six frames."""
    write_pandaset(pandaset_world(frames=6, lidar_frames=()), tmp_path / 'raw')
    return tmp_path / 'raw'


def convert(root: Path, last: int = 2) -> list[Path]:
    """The train split has the frames up to ``last``."""
    return pandaset.convert(root, root.parent / 'out', train_frames=(0, last), val_frames=(last + 1, 5))


def image_of(root: Path, frame: int) -> Path:
    return root / f'001/camera/front_camera/{frame:02d}.jpg'


def test_a_conversion_counts_turned_images(sequence, capsys):
    before = [path.read_bytes() for path in convert(sequence)]
    assert 'orientation tag' not in capsys.readouterr().err
    tag = Image.Exif()
    tag[0x0112] = 3
    for frame in (1, 4, 5):
        path = image_of(sequence, frame)
        content = path.read_bytes()
        note = b'Exif\0\0' + tag.tobytes().removeprefix(b'Exif\0\0')
        path.write_bytes(content[:2] + b'\xff\xe1' + (len(note) + 2).to_bytes(2, 'big') + note + content[2:])
    assert [path.read_bytes() for path in convert(sequence)] == before
    lines = [line for line in capsys.readouterr().err.splitlines() if 'orientation tag' in line]
    assert len(lines) == 2
    assert 'val.pkl: 2 of 18 images have an orientation tag' in lines[1]
    assert str(image_of(sequence, 4)) in lines[1]


@pytest.mark.parametrize('suffix', ['.png', '.tiff'])
def test_a_conversion_refuses_unscaled_bits(sequence, suffix):
    """Whatever the name says, and in a frame whose brightness is not looked at."""
    path = image_of(sequence, 3)
    image = cv2.imread(str(path)).astype(np.uint16) * 16
    path.write_bytes(cv2.imencode(suffix, image)[1].tobytes())
    with pytest.raises(InputError, match=r'03\.jpg: its 16 bits reach'):
        convert(sequence, last=0)
    assert not (sequence.parent / 'out/pandaset_infos_val.pkl').exists()


def test_a_conversion_counts_dark_images(sequence, capsys):
    for frame in range(3):
        path = image_of(sequence, frame)
        cv2.imwrite(str(path), cv2.imread(str(path)) // 32)
    convert(sequence)
    [line] = [line for line in capsys.readouterr().err.splitlines() if 'nearly black' in line]
    assert 'train.pkl: 3 of 18 images that were looked at are nearly black' in line
    assert str(image_of(sequence, 0)) in line


def test_tables_and_splits_with_marks_and_line_ends_of_windows_are_read(tmp_path):
    root = tmp_path / 'raw'
    write_nuscenes(BoxWorld(), root, {'train': ['scene-a'], 'val': ['scene-b']})
    before = [path.read_bytes() for path in nuscenes.convert(root, tmp_path / 'before', version='v1.0-mini')]
    for path in [*root.rglob('*.json')]:
        path.write_bytes(path.read_text().replace(', ', ',\r\n').encode('utf-8-sig'))
    after = [path.read_bytes() for path in nuscenes.convert(root, tmp_path / 'after', version='v1.0-mini')]
    assert after == before
