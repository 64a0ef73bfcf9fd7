"""The file of LPIPS is made of VGG-16 from the hub and of the heads in its package."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from projects.DistillNeRF.foundation_models import lpips_file
from projects.DistillNeRF.foundation_models.catalog import named
from projects.DistillNeRF.foundation_models.checksums import Checksum, sha256
from projects.DistillNeRF.foundation_models.downloads import get
from projects.DistillNeRF.foundation_models.lpips_file import HEADS, check_lpips, fetch_heads, find_heads, write_lpips
from projects.DistillNeRF.foundation_models.placing import INTACT, status
from projects.DistillNeRF.losses.image import PerceptualDistance
from tests.helpers.hub_server import Hub, serving
from tests.helpers.refusals import assert_refused
from verification.benchmark.training import lpips_weights

LPIPS = named('lpips-vgg')


@pytest.fixture(scope='module')
def parts(tmp_path_factory) -> Path:
    """VGG-16 as timm has it and the heads as the package has them, with random weights."""
    folder = tmp_path_factory.mktemp('parts')
    state = lpips_weights()
    vgg = {f'features.{name.split(".", 2)[2]}': value for name, value in state.items() if name.startswith('net')}
    save_file({**vgg, 'head.fc.bias': torch.zeros(3)}, folder / 'model.safetensors')
    (folder / HEADS).parent.mkdir(parents=True)
    torch.save({name: value for name, value in state.items() if name.startswith('lin')}, folder / HEADS)
    return folder


@pytest.fixture
def known_heads(parts: Path, monkeypatch) -> Path:
    """The heads, which this process takes for those of LPIPS."""
    monkeypatch.setattr(lpips_file, 'HEADS_SUM', Checksum('sha256', sha256(parts / HEADS)))
    return parts / HEADS


def test_it_is_the_network_of_its_parts(parts: Path, tmp_path: Path):
    write_lpips(parts / 'model.safetensors', parts / HEADS, tmp_path / 'lpips.pth')
    check_lpips(tmp_path / 'lpips.pth')
    torch.save(lpips_weights(), tmp_path / 'expected.pth')
    first, second = torch.rand(2, 1, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    found, expected = PerceptualDistance(), PerceptualDistance()
    found.load(tmp_path / 'lpips.pth')
    expected.load(tmp_path / 'expected.pth')
    assert found(first, second) == expected(first, second) > 0


def test_parts_of_other_networks_are_refused(parts: Path, tmp_path: Path):
    target = tmp_path / 'lpips.pth'
    save_file({'features.0.weight': torch.zeros(64, 3, 7, 7)}, tmp_path / 'vgg.safetensors')
    words = 'features.0.weight is of shape (64, 3, 7, 7), not of shape (64, 3, 3, 3)'
    assert_refused(lambda: write_lpips(tmp_path / 'vgg.safetensors', parts / HEADS, target), words)
    torch.save({'lin0.model.1.weight': torch.zeros(1, 64, 1, 1)}, tmp_path / 'heads.pth')
    assert_refused(
        lambda: write_lpips(parts / 'model.safetensors', tmp_path / 'heads.pth', target),
        'lin1.model.1.weight is missing',
    )
    (tmp_path / 'vgg.safetensors').write_bytes(b'cut')
    assert_refused(
        lambda: write_lpips(tmp_path / 'vgg.safetensors', parts / HEADS, target), 'not a readable safetensors'
    )
    assert not target.exists()


def test_heads_come_from_the_installed_package(known_heads: Path, tmp_path: Path, monkeypatch):
    (tmp_path / 'site' / HEADS).parent.mkdir(parents=True)
    (tmp_path / 'site' / 'lpips' / '__init__.py').write_text('import torchvision')  # it cannot be imported
    (tmp_path / 'site' / HEADS).write_bytes(known_heads.read_bytes())
    monkeypatch.syspath_prepend(tmp_path / 'site')
    assert find_heads() == tmp_path / 'site' / HEADS
    fetch_heads(tmp_path / 'heads.pth')
    assert (tmp_path / 'heads.pth').read_bytes() == known_heads.read_bytes()
    (tmp_path / 'site' / HEADS).write_bytes(b'others')
    assert_refused(lambda: fetch_heads(tmp_path / 'heads.pth'), 'is not that of LPIPS 0.1')
    assert not (tmp_path / 'heads.pth').exists()


def test_heads_come_from_the_package_index(known_heads: Path, tmp_path: Path, monkeypatch):
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, 'w') as archive:
        archive.writestr(HEADS, known_heads.read_bytes())
        about = 'Metadata-Version: 2.1\nName: lpips\nVersion: 0.1.4\n'
        archive.writestr('lpips-0.1.4.dist-info/METADATA', about)
        archive.writestr(
            'lpips-0.1.4.dist-info/WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n'
        )
        archive.writestr('lpips-0.1.4.dist-info/RECORD', '')
    for name in ('PIP_INDEX_URL', 'PIP_EXTRA_INDEX_URL'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', str(tmp_path))
    assert_refused(lambda: fetch_heads(tmp_path / 'heads.pth'), 'lpips==0.1.4: pip cannot get it (ERROR', '--from')
    (tmp_path / 'lpips-0.1.4-py3-none-any.whl').write_bytes(wheel.getvalue())
    fetch_heads(tmp_path / 'heads.pth')
    assert (tmp_path / 'heads.pth').read_bytes() == known_heads.read_bytes()


def test_it_is_loaded_made_and_recorded(known_heads: Path, parts: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(lpips_file, 'find_heads', lambda folder=None: known_heads)
    root = tmp_path / 'aux_models'
    files = {'model.safetensors': (parts / 'model.safetensors').read_bytes(), 'README.md': b'x'}
    with serving(Hub({f'models/{LPIPS.repo}': files})) as hub:
        monkeypatch.setenv('HF_ENDPOINT', hub.url)
        assert [*get(LPIPS, root)][-1] == f'wrote {root / "lpips_vgg.pth"}'
    assert status(LPIPS, root).kind == INTACT
    assert {path.name for path in root.iterdir()} == {'lpips_vgg.pth', 'lpips_vgg.pth.source.json'}
    # One that a user made stays, and is told that its values are not known.
    (root / 'lpips_vgg.pth.source.json').unlink()
    made = (root / 'lpips_vgg.pth').read_bytes()
    list(get(LPIPS, root))
    assert 'its values cannot be verified' in capsys.readouterr().err
    assert status(LPIPS, root).kind == INTACT and (root / 'lpips_vgg.pth').read_bytes() == made
    # Its parts in a folder, or the whole.
    for number, folder in enumerate((parts, root)):
        list(get(LPIPS, tmp_path / str(number), folder))
        assert status(LPIPS, tmp_path / str(number)).kind == INTACT
    (root / 'lpips_vgg.pth.source.json').unlink()
    torch.save({'net.slice1.0.weight': torch.zeros(1)}, root / 'lpips_vgg.pth')
    assert_refused(lambda: list(get(LPIPS, root)), 'these are no weights of LPIPS')
