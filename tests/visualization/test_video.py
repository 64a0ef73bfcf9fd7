"""Videos can be read back and are whole or absent."""

from __future__ import annotations

from collections.abc import Iterator

import imageio_ffmpeg
import numpy as np
import pytest

from projects.DistillNeRF.utils.errors import InputError
from projects.DistillNeRF.visualization.video import even_size, require_video, write_video


def frames(count: int, height: int = 33, width: int = 49) -> Iterator[np.ndarray]:
    for index in range(count):
        yield np.full((height, width, 3), (index * 20, 128, 255 - index * 20), np.uint8)


def test_video_has_the_frames_in_an_ordinary_format(tmp_path):
    path = tmp_path / 'videos' / 'a.mp4'
    assert write_video(path, frames(10), fps=5, total=10) == 10
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    assert meta['codec'] == 'h264'
    assert meta['pix_fmt'].startswith('yuv420p')
    assert meta['size'] == (50, 34)
    assert meta['fps'] == 5
    pictures = [np.frombuffer(data, np.uint8).reshape(34, 50, 3) for data in reader]
    assert len(pictures) == 10
    for index, picture in enumerate(pictures):
        assert abs(picture[5:-5, 5:-5, 0].astype(int) - index * 20).max() < 12
    assert [file.name for file in path.parent.iterdir()] == ['a.mp4']


def test_nothing_is_left_of_a_failed_video(tmp_path):
    def failing() -> Iterator[np.ndarray]:
        yield from frames(2)
        raise RuntimeError('the renderer failed')

    with pytest.raises(RuntimeError, match='renderer'):
        write_video(tmp_path / 'a.mp4', failing())
    with pytest.raises(InputError, match='at least one'):
        write_video(tmp_path / 'a.mp4', [])
    with pytest.raises(InputError, match=r'frame 2'):
        write_video(tmp_path / 'a.mp4', [*frames(2), *frames(1, height=20)])
    assert not list(tmp_path.iterdir())


def test_even_frames_are_left_alone():
    frame = np.zeros((4, 6, 3), np.uint8)
    assert even_size(frame).shape == (4, 6, 3)
    assert even_size(frame[:3, :5]).shape == (4, 6, 3)


@pytest.mark.parametrize('name', ['out.gif', 'out', 'out.mp4.part', 'out.png', '.mp4'])
def test_suffixes_are_checked_before_anything_is_done(tmp_path, name):
    def never() -> Iterator[np.ndarray]:
        raise AssertionError('a frame was asked for')
        yield

    for work in (lambda path: write_video(path, never()), require_video):
        with pytest.raises(InputError, match=r'suffix.*give .*\.mp4'):
            work(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['a.mp4', 'a.MP4', 'a.mov', 'a.m4v', 'a.mkv'])
def test_all_suffixes_hold_the_video(tmp_path, name):
    require_video(tmp_path / name)
    assert not list(tmp_path.iterdir())
    assert write_video(tmp_path / name, frames(3)) == 3
    assert next(imageio_ffmpeg.read_frames(str(tmp_path / name)))['codec'] == 'h264'


# What stands for an ffmpeg that is not as it should be; its first argument is the real one.
PROGRAMS = {
    'missing': None,
    'does nothing': 'exit 0',
    'fails': 'exit 1',
    'without libx264': 'real=$1; shift; exec "$real" "${@/libx264/libnone}"',
    'dies halfway': 'real=$1; shift; case "$*" in *libx264*) head -c 9000 >/dev/null; exit 1;; esac; exec "$real" "$@"',
    'loses frames': 'real=$1; shift; case "$*" in *libx264*) set -- "${@:1:$#-1}" -frames:v 1 "${@: -1}";; esac; '
    'exec "$real" "$@"',
    'makes them small': 'real=$1; shift; case "$*" in *libx264*) set -- "${@:1:$#-1}" -s 8x8 "${@: -1}";; esac; '
    'exec "$real" "$@"',
}


@pytest.fixture(params=PROGRAMS)
def broken(request, tmp_path, monkeypatch) -> str:
    """An ffmpeg that does not do its work."""
    real, program = imageio_ffmpeg.get_ffmpeg_exe(), tmp_path / 'ffmpeg'
    if PROGRAMS[request.param] is not None:
        program.write_text(f'#!/usr/bin/env bash\nset -- {real} "$@"\n{PROGRAMS[request.param]}\n')
        program.chmod(0o755)
    monkeypatch.setenv('IMAGEIO_FFMPEG_EXE', str(program))
    return request.param


def test_what_ffmpeg_wrote_is_checked_before_the_file_has_its_name(broken, tmp_path):
    path = tmp_path / 'videos' / 'a.mp4'
    path.parent.mkdir()
    path.write_text('here already')
    for work in (lambda: write_video(path, frames(40)), lambda: require_video(path)):
        with pytest.raises(InputError) as error:
            work()
        assert str(error.value).startswith(f'{path}: the video was not written: ffmpeg ({tmp_path / "ffmpeg"}) ')
        assert '\n' not in str(error.value)
    assert 'libx264' in str(error.value) and 'IMAGEIO_FFMPEG_EXE' in str(error.value)
    assert [file.name for file in path.parent.iterdir()] == ['a.mp4']
    assert path.read_text() == 'here already'
