"""Weights & Biases that cannot be used is known at once, and left alone only if that is asked for."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import wandb
from mmengine.config import Config

from projects.DistillNeRF.configuration.wandb_backend import KEY, use_wandb
from tests.helpers.commands import ROOT, Result, run
from tests.helpers.refusals import assert_refused

GOOD_KEY = 'a1b2c3d4e5' * 4
NOWHERE = 'http://127.0.0.1:9'  # nobody listens there


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv('WANDB_SILENT', 'true')
    monkeypatch.setenv('WANDB_API_KEY', GOOD_KEY)
    monkeypatch.setenv('WANDB_BASE_URL', NOWHERE)
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)


def start(project, tmp_path, mode: str) -> Result:
    options = (f'wandb={mode}', 'train_cfg.max_iters=1', 'train_cfg.val_interval=9', 'custom_hooks=[]')
    return run('train', project.config, '--work-dir', tmp_path / 'work', '--cfg-options', *options)


def test_a_server_that_cannot_be_reached_is_refused_or_done_without(project, tmp_path, capsys):
    assert_refused(start(project, tmp_path, 'online'), NOWHERE, 'cannot be reached', 'wandb=offline', 'wandb=auto')
    assert not list(tmp_path.rglob('wandb')) and not list(tmp_path.rglob('*.log'))
    for mode, warned in (('auto', True), ('offline', False)):
        config = Config({'work_dir': str(tmp_path), 'visualizer': {'vis_backends': []}})
        use_wandb(config, mode)
        assert config.visualizer.vis_backends[0]['init_kwargs']['mode'] == 'offline'
        assert (f'warning: wandb=auto: {NOWHERE} cannot be reached' in capsys.readouterr().err) == warned


@pytest.mark.parametrize(
    'key', ['abc', '', 'a b' * 20, f'{GOOD_KEY}\n', 'https://wandb.ai/authorize/and/so/on/and/so/on']
)
def test_malformed_keys_are_refused(project, tmp_path, monkeypatch, key):
    monkeypatch.setenv('WANDB_API_KEY', key)
    result = start(project, tmp_path, 'online')
    assert_refused(result, 'WANDB_API_KEY', 'wandb=offline')
    assert not key or key.strip() not in result.err


@pytest.mark.parametrize('key', [GOOD_KEY, f'local-{GOOD_KEY}', f'wandb_v1_{GOOD_KEY}_{GOOD_KEY}', 'head.body.sign_1'])
def test_keys_of_all_kinds_are_accepted(key):
    assert KEY.fullmatch(key)


class Refusing(http.server.BaseHTTPRequestHandler):
    """A server that knows no key."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def refusing(monkeypatch) -> Iterator[None]:
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv('WANDB_BASE_URL', f'http://127.0.0.1:{server.server_port}')
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_key_that_the_server_refuses_is_one_line(project, tmp_path, refusing, monkeypatch):
    def init(**settings: object) -> None:
        raise wandb.errors.CommError('user is not logged in\n401')

    monkeypatch.setattr(wandb, 'init', init)
    assert_refused(
        start(project, tmp_path, 'online'), 'wandb: the run cannot begin (user is not logged in 401)', 'wandb=auto'
    )
    assert not list(tmp_path.rglob('*.pth'))


def test_auto_goes_on_offline_where_the_server_refuses_the_key(project, tmp_path, refusing):
    """For real, in a process of its own, as the package remembers servers."""
    command = [sys.executable, 'tools/train.py', str(project.config), '--work-dir', str(tmp_path / 'work')]
    command += ['--cfg-options', 'wandb=auto', 'train_cfg.max_iters=1', 'train_cfg.val_interval=9', 'custom_hooks=[]']
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert 'warning: wandb=auto: the run cannot begin' in ended.stderr
    assert len(list((tmp_path / 'work').glob('wandb/offline-run-*'))) == 1
    assert (tmp_path / 'work/iter_1.pth').exists()
