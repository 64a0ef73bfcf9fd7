"""Videos can be read back and are whole or absent."""

from __future__ import annotations

from collections.abc import Iterator

import imageio_ffmpeg
import numpy as np
import pytest

from projects.DistillNeRF.errors import InputError
from projects.DistillNeRF.visualization.video import even_size, write_video


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
