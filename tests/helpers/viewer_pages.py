"""The viewer as a person meets it: a process, a page in a browser, and what is on the screen."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from projects.DistillNeRF.visualization.viewer.session import ROWS
from tests.helpers.commands import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ARTIFACTS = ROOT / 'work_dirs' / 'test_artifacts'
# Most of the window, but neither the controls on the right nor the axes in the lower left corner.
WIDTH, HEIGHT = 1100, 700
REGION = (slice(20, 600), slice(100, 700))
PATIENCE = 60.0
# Mean absolute difference of colors, 0 to 255: what JPEG and scaling may do, and what another picture differs by.
SAME, DIFFERENT = 12.0, 25.0


@contextmanager
def viewer(*arguments: object) -> Iterator[tuple[subprocess.Popen, str]]:
    """A process of the viewer with these arguments, and where it says it is."""
    command = [sys.executable, 'tools/viewer.py', *arguments, '--port', '0']
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        # Tests that run in the background of a shell, and what they start, would not hear Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        yield process, address(process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def address(process: subprocess.Popen) -> str:
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.match(r'viewer: (http://127\.0\.0\.1:\d+) ', line):
            return found[1]
    pytest.fail(f'the viewer ended: {"".join(said)}')


@contextmanager
def opened(browser: Browser, url: str) -> Iterator[Page]:
    """A page with the finest picture; it may ask only the viewer for anything."""
    page = browser.new_page(viewport={'width': WIDTH, 'height': HEIGHT}, accept_downloads=True)
    requests: list[str] = []
    page.on('request', lambda request: requests.append(request.url))
    page.goto(url)
    rested(page)
    if (notice := page.locator('.mantine-Notification-closeButton')).count():
        notice.first.click()  # a warning that WebGL has no hardware
    yield page
    assert all(request.startswith((url, 'data:', 'blob:')) for request in requests), requests
    page.close()


def rested(page: Page) -> None:
    """Wait for the finest picture."""
    page.get_by_text(f'x {ROWS[-1]} rays after').wait_for(timeout=1000 * PATIENCE)


def screen(page: Page, name: str | None = None) -> np.ndarray:
    """The window, kept as an artifact under a name."""
    content = page.screenshot()
    if name is not None:
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        (ARTIFACTS / f'viewer_{name}.png').write_bytes(content)
    return np.array(Image.open(io.BytesIO(content)).convert('RGB'))


def difference(shown: np.ndarray, image: np.ndarray) -> float:
    """Mean absolute difference of a screenshot and a picture of the whole window, where the window is free."""
    whole = np.array(Image.fromarray(image).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))
    return float(np.abs(shown[REGION].astype(int) - whole[REGION]).mean())


def wait_for_picture(page: Page, image: np.ndarray, name: str) -> np.ndarray:
    """Until the screen shows this picture; the last screenshot is kept in any case."""
    deadline = time.monotonic() + PATIENCE
    while True:
        shown = screen(page)
        if (found := difference(shown, image)) < SAME or time.monotonic() > deadline:
            screen(page, name)
            Image.fromarray(image).save(ARTIFACTS / f'viewer_{name}_expected.png')
            assert found < SAME, f'the screen differs by {found:.1f} of 255: see {ARTIFACTS}/viewer_{name}*.png'
            return shown
        page.wait_for_timeout(100)


def color_share(shown: np.ndarray, color: tuple[int, int, int], tolerance: int = 12) -> float:
    return float((np.abs(shown[REGION].astype(int) - color).max(axis=-1) < tolerance).mean())
