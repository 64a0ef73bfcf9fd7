"""A tiny project with a checkpoint, and a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from projects.DistillNeRF.apis import init_model

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Software rendering of WebGL, and no connection of the browser's own.
FLAGS = (
    '--no-sandbox',
    '--disable-gpu',
    '--use-angle=swiftshader',
    '--enable-unsafe-swiftshader',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--no-first-run',
    '--disable-quic',
)


@pytest.fixture(scope='session')
def vivid(project, tmp_path_factory) -> Path:
    """A checkpoint of random weights for the tiny project whose pictures are full of contrast."""
    torch.manual_seed(0)
    network = init_model(project.config)
    with torch.no_grad():
        for weight in network.head.parameters():
            if weight.ndim > 1:
                weight *= 1.6
    path = tmp_path_factory.mktemp('vivid') / 'vivid.pth'
    torch.save({'state_dict': {f'network.{name}': value for name, value in network.state_dict().items()}}, path)
    return path


@pytest.fixture(scope='session')
def browser() -> Iterator[Browser]:
    """Chromium. Without it the tests are skipped, but they fail where ``CI`` is set: there they must run."""
    path = shutil.which('chromium') or shutil.which('google-chrome')
    if path is None:
        missing = 'no chromium: the viewer cannot be tested in a browser; install it (apt-get install chromium)'
        (pytest.fail if os.environ.get('CI') else pytest.skip)(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()
