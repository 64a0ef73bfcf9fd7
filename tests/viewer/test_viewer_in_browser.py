"""The viewer as a person meets it: a process, a browser, and what is on the screen.

Screenshots stay in ``work_dirs/test_artefacts``.
"""

from __future__ import annotations

import dataclasses
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from projects.DistillNeRF.engine.config import load_config
from projects.DistillNeRF.viewer.glances import Samples
from projects.DistillNeRF.viewer.looks import Look
from projects.DistillNeRF.viewer.painter import DEPTH, RGB
from projects.DistillNeRF.viewer.tiles import ROWS, SNAPSHOT_ROWS
from projects.DistillNeRF.viewer.viewpoints import Viewpoint, looking
from projects.DistillNeRF.visualization.depth_colors import SKY_COLOUR
from tests.conftest import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ARTEFACTS = ROOT / 'work_dirs' / 'test_artefacts'
# Most of the window, but neither the controls on the right nor the axes in the lower left corner.
WIDTH, HEIGHT = 1100, 700
REGION = (slice(20, 600), slice(100, 700))
PATIENCE = 60.0
# Mean absolute difference of colours, 0 to 255: what JPEG and scaling may do, and what another picture differs by.
SAME, DIFFERENT = 12.0, 25.0
RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


@pytest.fixture(scope='module')
def process(project, vivid) -> Iterator[subprocess.Popen]:
    command = [sys.executable, 'tools/viewer.py', project.config, vivid, '--port', '0']
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture(scope='module')
def url(process) -> str:
    """Where the viewer says it is."""
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.match(r'viewer: (http://127\.0\.0\.1:\d+) ', line):
            return found[1]
    pytest.fail(f'the viewer ended: {"".join(said)}')


@pytest.fixture(scope='module')
def page(browser: Browser, url: str) -> Iterator[Page]:
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


@pytest.fixture(scope='module')
def looks(project, vivid) -> list[Look]:
    """What the process should show, computed here."""
    samples = Samples(load_config(project.config), str(vivid))
    return [Look(samples.load(number)) for number in range(2)]


@torch.no_grad()
def painted(look: Look, mode: str = RGB, rows: int = ROWS[-1], fov: float | None = None) -> np.ndarray:
    """The picture of the whole window from the front camera, which the browser holds level."""
    front = look.glance.front
    view: Viewpoint = looking(tuple(front.position), tuple(front.look_at), fov or front.fov)
    view = dataclasses.replace(view, aspect=WIDTH / HEIGHT)
    return next(picture.image for picture in look.pictures(view, mode, rows=(rows,)) if picture is not None)


def rested(page: Page) -> None:
    """Wait for the finest picture."""
    page.get_by_text(f'x {ROWS[-1]} rays after').wait_for(timeout=1000 * PATIENCE)


def screen(page: Page, name: str | None = None) -> np.ndarray:
    """The window, kept as an artefact under a name."""
    content = page.screenshot()
    if name is not None:
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        (ARTEFACTS / f'viewer_{name}.png').write_bytes(content)
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
            Image.fromarray(image).save(ARTEFACTS / f'viewer_{name}_expected.png')
            assert found < SAME, f'the screen differs by {found:.1f} of 255: see {ARTEFACTS}/viewer_{name}*.png'
            return shown
        page.wait_for_timeout(100)


def colour_share(shown: np.ndarray, colour: tuple[int, int, int], tolerance: int = 12) -> float:
    return float((np.abs(shown[REGION].astype(int) - colour).max(axis=-1) < tolerance).mean())


def test_the_page_shows_what_the_front_camera_sees(page, looks):
    expected = painted(looks[0])
    shown = wait_for_picture(page, expected, 'rgb')
    assert shown[REGION].std() > 20
    # Any other way round, and with red and blue exchanged, it is another picture.
    for other in (expected[:, ::-1], expected[::-1], expected[..., ::-1]):
        assert difference(shown, other) > DIFFERENT


def test_depth_is_one_click_away(page, looks):
    expected = painted(looks[0], DEPTH)
    before = screen(page)
    page.get_by_role('button', name=DEPTH).click()
    shown = wait_for_picture(page, expected, 'depth')
    assert difference(shown, before) > DIFFERENT
    assert difference(shown, expected[:, ::-1]) > SAME
    assert colour_share(shown, SKY_COLOUR) > 0.02 > colour_share(before, SKY_COLOUR, 2)
    page.get_by_role('button', name=RGB).click()
    wait_for_picture(page, painted(looks[0]), 'rgb_again')


def test_what_this_network_cannot_show_is_greyed_out(page):
    assert page.get_by_role('button', name='text query').is_disabled()
    assert page.get_by_text('this network renders colours').is_visible()
    assert page.get_by_role('button', name='features').is_enabled()


def test_a_snapshot_is_the_fine_picture(page, looks):
    with page.expect_download(timeout=1000 * PATIENCE) as download:
        page.get_by_role('button', name='Save a snapshot').click()
    assert download.value.suggested_filename == 'distillnerf_RGB.png'
    image = np.array(Image.open(download.value.path()))
    expected = painted(looks[0], rows=SNAPSHOT_ROWS)
    assert image.shape == expected.shape == (720, round(360 * WIDTH / HEIGHT) * 2, 3)
    # The browser's numbers for its camera are rounded.
    assert np.abs(image.astype(int) - expected).mean() < 3


def test_another_sample_is_encoded_and_shown(page, looks):
    first, second = painted(looks[0]), painted(looks[1])
    field = page.locator('input[type=text]').first
    field.fill('1')
    field.press('Enter')
    page.get_by_text('boxes frame 1').wait_for(timeout=1000 * PATIENCE)
    assert np.abs(first.astype(int) - second).mean() > DIFFERENT
    # The world is another one now, and the camera stays where it was in it.
    front = looks[0].glance.front
    view = dataclasses.replace(looking(tuple(front.position), tuple(front.look_at), front.fov), aspect=WIDTH / HEIGHT)
    with torch.no_grad():
        pictures = [picture.image for picture in looks[1].pictures(view, RGB, rows=ROWS[-1:]) if picture is not None]
    wait_for_picture(page, pictures[0], 'sample')
    field.fill('0')
    field.press('Enter')
    wait_for_picture(page, first, 'sample_again')


def test_a_flight_moves_the_camera_until_it_is_paused(page, looks):
    start = painted(looks[0])
    page.get_by_role('button', name='Play').click()
    deadline = time.monotonic() + PATIENCE
    while difference(screen(page), start) < DIFFERENT and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    page.get_by_role('button', name='Pause').click()
    rested(page)
    assert difference(screen(page, 'flight'), start) > SAME


def test_from_outside_the_cameras_and_cells_are_in_the_picture(page):
    page.get_by_label('go to').first.click()
    page.get_by_role('option', name='outside').click()
    page.get_by_role('button', name='Go', exact=True).click()
    rested(page)
    page.get_by_label('rendered picture').first.click()

    def until(shows: Callable[[np.ndarray], bool]) -> np.ndarray:
        deadline = time.monotonic() + PATIENCE
        while not shows(shown := screen(page, 'outside')):
            assert time.monotonic() < deadline, f'see {ARTEFACTS}/viewer_outside.png'
            page.wait_for_timeout(100)
        return shown

    def blank(shown: np.ndarray) -> float:
        return colour_share(shown, WHITE, 2)

    def middle(shown: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
        """Mean (row, column) of the pixels of a colour; NaN if there are none."""
        pixels = np.argwhere(np.abs(shown[REGION].astype(int) - colour).max(axis=-1) < 60)
        return pixels.mean(axis=0) if len(pixels) else np.full(2, np.nan)

    # The images in the frusta: the box ahead is red, the one to the left is green.
    alone = until(lambda shown: 0.9 < blank(shown) < 1 and np.isfinite(middle(shown, RED)).all())
    red, green = middle(alone, RED), middle(alone, GREEN)
    assert green[1] < red[1] - 30 and red[0] < green[0]
    page.get_by_label('occupied cells').first.click()
    until(lambda shown: blank(shown) < blank(alone) - 0.01)
    page.get_by_label('occupied cells').first.click()
    page.get_by_label('cameras', exact=True).first.click()
    until(lambda shown: blank(shown) == 1)


def test_interrupting_ends_it_cleanly(process, page):
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, rest
    assert 'Traceback' not in rest


def test_artefacts_are_ignored_by_git():
    inside = Path(os.path.relpath(ARTEFACTS / 'viewer_rgb.png', ROOT))
    found = subprocess.run(['git', 'check-ignore', '-q', str(inside)], cwd=ROOT)
    assert found.returncode == 0
