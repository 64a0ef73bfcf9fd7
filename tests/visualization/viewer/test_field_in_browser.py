"""The field of a drive in a browser: its time, its switches and its modes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from projects.DistillNeRF.visualization.colors import SKY_COLOR, UNKNOWN_COLOR
from tests.helpers.data import ROOT
from tests.helpers.fields import red_block
from tests.helpers.oracle import town_drive
from tests.helpers.viewer_pages import PATIENCE, color_share, opened, screen, viewer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ENTRY = ROOT / 'projects/DistillNeRF/configs/model_wrapper/scene_nerf_minitown.py'
RED, GREEN = (255, 0, 0), (0, 255, 0)


@pytest.fixture(scope='module')
def checkpoint(town, tmp_path_factory) -> Path:
    """A field of a drive through the town of boxes, with its config beside it."""
    folder = tmp_path_factory.mktemp('field')
    files = [str(town / f'minitown_infos_{split}.pkl') for split in ('train', 'val')]
    section = {
        'ann_files': files,
        'scene': 'minitown-0001',
        'roots': dict.fromkeys(('img', 'lidar', 'truth'), str(town)),
        'image_size': (28, 50),
    }
    (folder / 'scene.py').write_text(f'_base_ = [{str(ENTRY)!r}]\nscene_nerf = {section!r}\n')
    weights = red_block(len(town_drive(town).images)).state_dict()
    state = {'seen': torch.zeros(0, dtype=torch.bool), **{f'field.{name}': value for name, value in weights.items()}}
    torch.save({'state_dict': state}, folder / 'iter_1.pth')
    return folder / 'iter_1.pth'


@pytest.fixture(scope='module')
def url(checkpoint) -> Iterator[str]:
    with viewer('--scene-nerf', checkpoint) as (_, found):
        yield found


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    with opened(browser, url) as page:
        # The frames of the cameras are not what is asked about here.
        page.get_by_label('cameras', exact=True).first.click()
        yield page
        page.get_by_label('cameras', exact=True).first.click()


def until(page: Page, name: str, shows: Callable[[np.ndarray], bool]) -> np.ndarray:
    """Wait until the screen shows something."""
    deadline = time.monotonic() + PATIENCE
    while not shows(shown := screen(page, f'field_{name}')):
        assert time.monotonic() < deadline, f'see viewer_field_{name}.png'
        page.wait_for_timeout(100)
    return shown


def share(color: tuple[int, int, int]) -> Callable[[np.ndarray], float]:
    return lambda shown: color_share(shown, color, 30)


red, green, gray = share(RED), share(GREEN), share(UNKNOWN_COLOR)


def test_parts_and_modes_are_switched(page):
    before = until(page, 'whole', lambda shown: red(shown) > 0.01 and green(shown) > 0.6)
    page.get_by_label('sky').first.click()
    until(page, 'no_sky', lambda shown: green(shown) == 0 and gray(shown) > 0.6 and red(shown) > 0.01)
    page.get_by_label('static things').first.click()
    until(page, 'nothing', lambda shown: gray(shown) > 0.99)
    page.get_by_label('sky').first.click()
    until(page, 'sky_alone', lambda shown: green(shown) > 0.99)
    page.get_by_label('static things').first.click()
    until(page, 'whole_again', lambda shown: abs(red(shown) - red(before)) < 0.01 and green(shown) > 0.6)
    page.get_by_role('button', name='depth').click()
    until(page, 'depth', lambda shown: color_share(shown, SKY_COLOR) > 0.6 and red(shown) == 0)
    page.get_by_label('unseen places').first.click()
    until(page, 'unseen', lambda shown: gray(shown) > 0.99)
    page.get_by_label('unseen places').first.click()
    # This field tells nothing about what moves, and has no features.
    assert not page.get_by_label('moving things').count()
    assert not page.get_by_role('button', name='features').count()


def test_time_goes_on_and_the_camera_rides_along(page):
    before = until(page, 'begin', lambda shown: red(shown) > 0.01)

    def choose(number: int) -> None:
        slider = page.locator('input[type=text]').first
        slider.fill(str(number))
        slider.press('Enter')
        page.get_by_text(f'minitown-0001 frame {number}').wait_for(timeout=1000 * PATIENCE)

    choose(1)
    until(page, 'stays', lambda shown: abs(red(shown) - red(before)) < 0.002)
    choose(0)
    page.get_by_label('ride along').first.click()
    choose(1)
    # The car drives towards the block.
    until(page, 'rides', lambda shown: red(shown) > 1.3 * red(before))
    choose(0)
    until(page, 'returns', lambda shown: abs(red(shown) - red(before)) < 0.002)
    page.get_by_label('ride along').first.click()
