"""The viewer as a person meets it: a process, a browser, and what is on the screen.

Every test opens a page of its own, so none depends on what another one did. Screenshots stay in
``work_dirs/test_artifacts``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from projects.DistillNeRF.apis import init_model, reconstruct
from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.engine.builders import build_dataset
from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.models.scene import Scene
from projects.DistillNeRF.visualization.colors import SKY_COLOR, depth_to_colors
from projects.DistillNeRF.visualization.panel_layout import to_uint8
from projects.DistillNeRF.visualization.viewer.colorizer import DEPTH, RGB
from projects.DistillNeRF.visualization.viewer.session import ROWS, SNAPSHOT_ROWS
from tests.helpers.commands import ROOT
from tests.helpers.viewer_pages import (
    ARTIFACTS,
    DIFFERENT,
    HEIGHT,
    PATIENCE,
    REGION,
    SAME,
    WIDTH,
    color_share,
    difference,
    opened,
    rested,
    screen,
    viewer,
    wait_for_picture,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


@pytest.fixture(scope='module')
def url(project, vivid) -> Iterator[str]:
    with viewer(project.config, vivid) as (_, found):
        yield found


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    with opened(browser, url) as page:
        yield page


@pytest.fixture(scope='module')
def scenes(project, vivid) -> tuple[list[Scene], Cameras]:
    """The scenes of the first two samples, and the front camera of the first one."""
    dataset = build_dataset(load_config(project.config), 'test')
    views = [dataset[number]['inputs']['input_views'] for number in range(2)]
    network = init_model(project.config, vivid)
    front = views[0].cameras[[views[0].names.index('FRONT')]]
    return [reconstruct(network, view) for view in views], front


@torch.no_grad()
def painted(scenes: tuple[list[Scene], Cameras], sample: int = 0, mode: str = RGB, rows: int = ROWS[-1]) -> np.ndarray:
    """What the whole window shall show from the front camera of the first sample; worked out without the viewer.

    The browser holds the camera level and gives it the height of the front camera's view.
    """
    scene, front = scenes[0][sample], scenes[1]
    height, width = 2 * rows, 2 * round(rows * WIDTH / HEIGHT)
    focal = float(front.intrinsics[0, 1, 1]) * height / front.height
    # Pixels are stretched a little to fill the window.
    across = focal * width / (height * WIDTH / HEIGHT)
    matrix = torch.tensor([[[across, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]]])
    forward = front.cam2world[0, :3, 2]
    right = torch.linalg.cross(forward, torch.tensor([0.0, 0, 1]))
    right = right / right.norm()
    pose = front.cam2world.clone()
    pose[0, :3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=1)
    rendering = scene.render(Cameras(matrix, pose, height, width))
    if mode == RGB:
        return to_uint8(rendering.rgb)[0]
    return depth_to_colors(rendering.depth[0].numpy(), (rendering.opacity[0] < 0.5).numpy())


def test_the_page_shows_what_the_front_camera_sees(page, scenes):
    expected = painted(scenes)
    shown = wait_for_picture(page, expected, 'rgb')
    assert shown[REGION].std() > 20
    # Any other way round, and with red and blue exchanged, it is another picture.
    for other in (expected[:, ::-1], expected[::-1], expected[..., ::-1]):
        assert difference(shown, other) > DIFFERENT


def test_depth_is_one_click_away(page, scenes):
    expected = painted(scenes, mode=DEPTH)
    before = wait_for_picture(page, painted(scenes), 'before_depth')
    page.get_by_role('button', name=DEPTH).click()
    shown = wait_for_picture(page, expected, 'depth')
    assert difference(shown, before) > DIFFERENT
    assert difference(shown, expected[:, ::-1]) > SAME
    assert color_share(shown, SKY_COLOR) > 0.02 > color_share(before, SKY_COLOR, 2)
    page.get_by_role('button', name=RGB).click()
    wait_for_picture(page, painted(scenes), 'rgb_again')


def test_what_this_network_cannot_show_is_grayed_out(page):
    assert page.get_by_role('button', name='text query').is_disabled()
    assert page.get_by_text('this network renders colors').is_visible()
    assert page.get_by_role('button', name='features').is_enabled()


def test_a_snapshot_is_the_fine_picture(page, scenes):
    with page.expect_download(timeout=1000 * PATIENCE) as download:
        page.get_by_role('button', name='Save a snapshot').click()
    assert download.value.suggested_filename == 'distillnerf_RGB.png'
    image = np.array(Image.open(download.value.path()))
    expected = painted(scenes, rows=SNAPSHOT_ROWS)
    assert image.shape == expected.shape == (720, round(360 * WIDTH / HEIGHT) * 2, 3)
    # The browser's numbers for its camera are rounded.
    assert np.abs(image.astype(int) - expected).mean() < 3


def test_another_sample_is_encoded_and_shown(page, scenes):
    first, second = painted(scenes), painted(scenes, sample=1)
    field = page.locator('input[type=text]').first
    field.fill('1')
    field.press('Enter')
    page.get_by_text('boxes frame 1').wait_for(timeout=1000 * PATIENCE)
    assert np.abs(first.astype(int) - second).mean() > DIFFERENT
    # The world is another one now, and the camera stays where it was in it.
    wait_for_picture(page, second, 'sample')
    field.fill('0')
    field.press('Enter')
    wait_for_picture(page, first, 'sample_again')


def test_a_flight_moves_the_camera_until_it_is_paused(page, scenes):
    start = painted(scenes)
    wait_for_picture(page, start, 'before_flight')
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
            assert time.monotonic() < deadline, f'see {ARTIFACTS}/viewer_outside.png'
            page.wait_for_timeout(100)
        return shown

    def blank(shown: np.ndarray) -> float:
        return color_share(shown, WHITE, 2)

    def middle(shown: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
        """Mean (row, column) of the pixels of a color; NaN if there are none."""
        pixels = np.argwhere(np.abs(shown[REGION].astype(int) - color).max(axis=-1) < 60)
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


def test_interrupting_ends_it_cleanly(project, vivid, browser):
    """While a page is open; it is a viewer of its own."""
    with viewer(project.config, vivid) as (process, url), opened(browser, url):
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, rest
    assert 'Traceback' not in rest


def test_artifacts_are_ignored_by_git():
    inside = Path(os.path.relpath(ARTIFACTS / 'viewer_rgb.png', ROOT))
    found = subprocess.run(['git', 'check-ignore', '-q', str(inside)], cwd=ROOT)
    assert found.returncode == 0
