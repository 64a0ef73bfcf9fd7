"""Write video files with ffmpeg, and check them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from tqdm import tqdm

from ..utils.errors import InputError
from ..utils.files import atomic_path, require_writable

# Containers of H.264 that ffmpeg knows by their suffix.
SUFFIXES = ('.mp4', '.m4v', '.mov', '.mkv')
HINT = 'reinstall imageio-ffmpeg, or let IMAGEIO_FFMPEG_EXE name an ffmpeg that has libx264'


def even_size(frame: np.ndarray) -> np.ndarray:
    """Repeat the last row or column of ``(H, W, 3)`` where their number is odd: yuv420p needs even sizes."""
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode='edge')


def require_video(path: str | os.PathLike) -> Path:
    """Return ``path`` if a video can be written there; call it before long work that ends in a video.

    A tiny video is encoded and decoded, so that an ffmpeg that is missing, broken or without H.264 is known at once.

    Raises:
        InputError: the suffix is none of a video's, ffmpeg does not do its work, or nothing can be written there.
    """
    path = Path(path)
    _require_suffix(path)
    if path.is_dir():
        raise InputError(f'{path}: is a folder; give the name of a file')
    require_writable(path.parent)
    frames = np.zeros((2, 16, 16, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / f'probe{path.suffix}'
        try:
            _encode(probe, frames, 10, path)
            _check(probe, 2, (16, 16), path)
        except InputError as error:
            raise InputError(f'{error}; {HINT}') from error
    return path


def write_video(
    path: str | os.PathLike, frames: Iterable[np.ndarray], fps: float = 10.0, total: int | None = None
) -> int:
    """Write H.264 (yuv420p: plays everywhere) and show a progress bar; the file is whole or absent.

    The video is decoded before the file gets its name: it must have all frames in their size.

    Args:
        path: file with one of :data:`SUFFIXES`, usually ``.mp4``.
        frames: ``(H, W, 3)`` uint8 RGB, all of one size; may be a generator, one frame is held at a time.
        fps: frames per second.
        total: number of frames, for the progress bar, if ``frames`` has no length.

    Returns:
        The number of frames written.

    Raises:
        InputError: another suffix, no frame at all, frames of different sizes, or ffmpeg wrote something else.
    """
    path = Path(path)
    _require_suffix(path)
    with atomic_path(path) as temporary:
        count, size = _encode(temporary, tqdm(frames, desc='video', total=total, unit='frame'), fps, path)
        _check(temporary, count, size, path)
    return count


def _require_suffix(path: Path) -> None:
    if path.suffix.lower() not in SUFFIXES:
        has = f'has the suffix {path.suffix}' if path.suffix else 'has no suffix'
        raise InputError(f'{path}: {has}, but videos are H.264 in {", ".join(SUFFIXES)}; give {path.stem}.mp4')


def _encode(file: Path, frames: Iterable[np.ndarray], fps: float, path: Path) -> tuple[int, tuple[int, int]]:
    """Encode the frames to ``file`` with ffmpeg; return their number, and their width and height.

    Args:
        path: name for messages.
    """
    count, writer, shape, size = 0, None, None, (0, 0)
    try:
        for frame in frames:
            picture = even_size(frame)
            if writer is None:
                shape, size = frame.shape, (picture.shape[1], picture.shape[0])
                writer = _open(file, size, fps, path)
            if frame.shape != shape:
                raise InputError(f'{path}: frame {count} is {frame.shape}, the first is {shape}; use one size')
            try:
                writer.send(np.ascontiguousarray(picture))
            except OSError as error:  # its message has the command in many lines
                raise _failed(path, f'ended at frame {count}') from error
            count += 1
    finally:
        if writer is not None:
            writer.close()
    if count == 0:
        raise InputError(f'{path}: a video needs at least one frame')
    return count, size


def _check(file: Path, count: int, size: tuple[int, int], path: Path) -> None:
    """Decode the whole video, and compare it with what was written.

    Raises:
        InputError: it cannot be decoded, or has other frames than were written.
    """
    try:
        reader = imageio_ffmpeg.read_frames(str(file))
        size_read = next(reader)['size']
        decoded = sum(1 for _ in reader)
    except (OSError, RuntimeError, StopIteration, KeyError) as error:
        raise _failed(path, 'wrote nothing that can be decoded') from error
    if (decoded, tuple(size_read)) != (count, size):
        wrote = f'{decoded} frames of {size_read[0]}x{size_read[1]}'
        raise _failed(path, f'wrote {wrote}, not {count} of {size[0]}x{size[1]}')


def _failed(path: Path, problem: str) -> InputError:
    return InputError(
        f'{path}: the video was not written: ffmpeg ({_program()}) {problem}; '
        'its own message is above; it may lack libx264 or room on the disk'
    )


def _program() -> str:
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        return 'not found'


def _open(file: Path, size: tuple[int, int], fps: float, path: Path) -> Generator[None, np.ndarray | None, None]:
    """Start an ffmpeg that encodes frames of a width and height; it waits for the first frame."""
    writer = imageio_ffmpeg.write_frames(
        str(file),
        size,
        fps=fps,
        codec='libx264',
        pix_fmt_in='rgb24',
        pix_fmt_out='yuv420p',
        quality=8,
        macro_block_size=2,
        output_params=['-movflags', '+faststart'],
    )
    try:
        writer.send(None)
    except (OSError, RuntimeError) as error:
        raise _failed(path, f'cannot be started ({error})') from error
    return writer
