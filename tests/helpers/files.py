"""What is done to files, and what is read from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def truncate(path: Path, share: float = 0.5037) -> None:
    """Cut off a file after a share of its bytes; the default is in the middle of something."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def picture(path: str | Path) -> np.ndarray:
    """Return the pixels of a picture that shows something."""
    pixels = np.array(Image.open(path))
    assert pixels.std() > 1
    return pixels


def written(out: str) -> list[Path]:
    """Return the files of which a command said that it wrote them."""
    return [Path(line.removeprefix('wrote ')) for line in out.splitlines() if line.startswith('wrote ')]
