"""A teacher is compared with the truth of a town: one that knows it, and one that is wrong in known ways."""

from __future__ import annotations

from argparse import Namespace

import pytest

from tests.helpers.oracle import Oracle, town_drive
from verification.minitown_teacher import compare

SIZE = (56, 100)


def scores(town, **changes: object) -> dict:
    drive = town_drive(town)
    settings = Namespace(drive=lambda: drive, image_size=SIZE, roots={'truth': str(town)}, scene='minitown-0001')
    return compare(Namespace(settings=lambda: settings, open=lambda: Oracle(drive, **changes)))


def test_who_knows_everything_is_right(town):
    found = scores(town)
    assert found['static']['abs_rel'] < 0.002 and found['static']['known'] == 1.0
    assert found['iou']['sky'] > 0.99
    assert set(found['views']) == {'0_0_0', '-1_0_0', '1_0_0', '0_-1_0'}
    for view in found['views'].values():
        assert view['psnr'] > 30 and view['psnr_known'] == view['psnr'] and view['known'] == 1.0


def test_wrong_depth_and_unknown_pixels_are_told(town):
    found = scores(town, scale=1.1, blind=0.5)
    assert found['static']['abs_rel'] == pytest.approx(0.1, abs=0.003)
    assert 0.3 < found['static']['known'] < 0.7 and found['iou']['sky'] < 0.8
    for view in found['views'].values():
        assert view['known'] == pytest.approx(0.5) and view['psnr_known'] > view['psnr'] + 1
