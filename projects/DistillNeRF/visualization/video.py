"""Video files."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable

import imageio_ffmpeg
import numpy as np
from tqdm import tqdm

from ..errors import InputError
from ..files import atomic_path


def even_size(frame: np.ndarray) -> np.ndarray:
    """``(H, W, 3)`` with the last row or column repeated where its number is odd (yuv420p needs even sizes)."""
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode='edge')


def write_video(
    path: str | os.PathLike, frames: Iterable[np.ndarray], fps: float = 10.0, total: int | None = None
) -> int:
    """Write an H.264 MP4 (yuv420p: plays everywhere); the file is whole or absent. Shows a progress bar.

    Args:
        path: ``.mp4`` file.
        frames: ``(H, W, 3)`` uint8 RGB, all of one size; may be a generator, one frame is held at a time.
        fps: frames per second.
        total: number of frames, for the progress bar, if ``frames`` has no length.

    Returns:
        The number of frames written.

    Raises:
        InputError: no frame at all, or frames of different sizes.
    """
    count, writer, size = 0, None, None
    with atomic_path(path) as temporary:
        try:
            for frame in tqdm(frames, desc='video', total=total, unit='frame'):
                if writer is None:
                    size = frame.shape
                    writer = _open(temporary, even_size(frame), fps)
                if frame.shape != size:
                    raise InputError(f'{path}: frame {count} is {frame.shape}, the first is {size}; use one size')
                writer.send(np.ascontiguousarray(even_size(frame)))
                count += 1
        finally:
            if writer is not None:
                writer.close()
        if count == 0:
            raise InputError(f'{path}: a video needs at least one frame')
    return count


def _open(path: os.PathLike, frame: np.ndarray, fps: float) -> Generator[None, np.ndarray | None, None]:
    """A running ffmpeg for frames of the size of ``frame``, ready to be sent frames."""
    height, width = frame.shape[:2]
    writer = imageio_ffmpeg.write_frames(
        str(path),
        (width, height),
        fps=fps,
        codec='libx264',
        pix_fmt_in='rgb24',
        pix_fmt_out='yuv420p',
        quality=8,
        macro_block_size=2,
        output_params=['-movflags', '+faststart'],
    )
    writer.send(None)
    return writer
