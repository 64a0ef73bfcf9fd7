"""Every entry point trains, validates and saves, on files in the published directory layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.engine.builders import build_dataset
from projects.DistillNeRF.models.checkpoint import read_checkpoint
from projects.DistillNeRF.semantics.classes import code_book
from tests.helpers.commands import ROOT, run
from tests.helpers.data import PANDASET
from tests.helpers.targets import assert_one_new_view_each
from tests.helpers.tiny_models import write_model
from tests.helpers.waymo_like import write_waymo_like

FOLDER = ROOT / 'projects/DistillNeRF/configs/model_wrapper'
ENTRIES = sorted(path.stem for path in FOLDER.glob('model_wrapper*.py'))
OURS = (
    'model_wrapper_minitown',
    'model_wrapper_minitown_features',
    'model_wrapper_minitown_noisy_features',
    'model_wrapper_pandaset',
    'model_wrapper_pandaset_features',
    'model_wrapper_pandaset_teacher',
    'model_wrapper_pandaset_foundation',
)
# Those at the published sizes; the last three are ours. Of Waymo's successor: test_waymo.py.
SUCCESSORS = ('successor_nuscenes', 'successor_nuscenes_dino', 'successor_nuscenes_clip')
PUBLISHED = [*(name for name in ENTRIES if name not in OURS), *SUCCESSORS]
QUICK = (
    'model_wrapper',
    'model_wrapper_virtual_cam_linearspace',
    'model_wrapper_linearspace_clip',
    'model_wrapper_waymo',
    'successor_nuscenes',
)

# The published settings but for the widths: a laptop has to run all of them. No weights of other networks are here.
SMALLER = (
    'model.network.depth_weights=None',
    'model.network.coarse.depth_channels=None',
    'model.network.coarse.width=4',
    'model.network.coarse.channels=8',
    'model.network.fine.width=4',
    'model.network.fine.hidden=4',
    'model.network.voxel.width=4',
    'model.network.channels=4',
    'model.losses.lpips=None',
    'model.num_camera=2',
    'train_dataloader.dataset.indices=2',
    'val_dataloader.dataset.indices=1',
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=1',
    'default_hooks.checkpoint.interval=1',
    'custom_hooks.2.interval=2',
)


@pytest.fixture(scope='module')
def published_layout(tmp_path_factory) -> Path:
    """The folder above ``data/``, which holds MiniTown as the configs expect nuScenes, Waymo, teachers and features."""
    folder = tmp_path_factory.mktemp('published')
    root = folder / 'data/nuscenes'
    town = ('--scenes', 2, '--keyframes', 3, '--workers', 2, '--extra-tag', 'town')
    assert run('create_data', 'minitown', '--root-path', root, *town).code == 0
    version = ('--version', 'v1.0-mini', '--extra-tag', 'nuscenes')
    assert run('create_data', 'nuscenes', '--root-path', root, *version).code == 0
    write_waymo_like(root, folder / 'data/waymo', tag='town')
    write_features(root, folder / 'data/nuscenes_feat')
    return folder


def write_features(root: Path, features: Path) -> None:
    """Code vectors of the true classes, (8, 14, 64) per keyframe image, in place of two foundation models."""
    codes = code_book().astype(np.float16)
    for path in (root / 'truth/classes').glob('*/*.png'):
        with Image.open(path) as image:
            classes = np.array(image.resize((14, 8), Image.Resampling.NEAREST))
        for kind in ('samples_clip_vitl14_336', 'samples_dinov2_vitb14'):
            target = features / kind / path.parent.name / f'{path.stem}.npy'
            target.parent.mkdir(parents=True, exist_ok=True)
            np.save(target, codes[classes])


@pytest.mark.parametrize('name', [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in PUBLISHED])
def test_an_entry_point_of_published_size_trains_two_iterations(published_layout, monkeypatch, tmp_path, name):
    """Where the data lies is not said on the command line: it is where the documentation puts it."""
    monkeypatch.chdir(published_layout)
    loaders = ('train', 'val', 'test')
    options = [f'{loader}_dataloader.num_workers=0' for loader in loaders]
    options += [f'{loader}_dataloader.persistent_workers=False' for loader in loaders]
    if not any(kind in name for kind in ('clip', 'dino')):
        options.append('model.network.head.width=32')
    config = ROOT / 'projects/DistillNeRF/configs/model_wrapper' / f'{name}.py'
    result = run('train', config, '--work-dir', tmp_path, '--cfg-options', *SMALLER, *options)
    assert result.code == 0, result.err
    assert read_checkpoint(tmp_path / 'iter_2.pth')['meta']['iter'] == 2
    assert [path.name for path in (tmp_path / 'panels').glob('train_0000002.png')]


def test_ten_sweeps_of_minitown_make_one_depth_image(published_layout, monkeypatch):
    monkeypatch.chdir(published_layout)
    path = ROOT / 'projects/DistillNeRF/configs/model_wrapper/model_wrapper_sweeplidar.py'
    known = []
    for options in ({'train_dataloader.dataset.lidar_sweeps': 1}, {}):
        sample = build_dataset(load_config(path, options), 'train')[2]
        known.append(sample['inputs']['input_views'].lidar_depth.isfinite().float().mean().item())
    assert known[1] > 1.5 * known[0]


def two_iterations_as_they_are(name: str, work_dir: Path, *options: str) -> None:
    """At full size, with a panel."""
    loaders = ('train', 'val')
    options += tuple(f'{loader}_dataloader.num_workers=0' for loader in loaders)
    options += tuple(f'{loader}_dataloader.persistent_workers=False' for loader in loaders)
    options += ('train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'val_dataloader.dataset.indices=1')
    config = ROOT / 'projects/DistillNeRF/configs/model_wrapper' / f'{name}.py'
    result = run('train', config, '--work-dir', work_dir, '--cfg-options', *options, 'custom_hooks.2.interval=2')
    assert result.code == 0, result.err
    assert read_checkpoint(work_dir / 'iter_2.pth')['meta']['iter'] == 2
    assert (work_dir / 'panels/train_0000002.png').is_file()


def test_the_successor_gets_one_new_view_of_each_camera(published_layout, monkeypatch):
    monkeypatch.chdir(published_layout)
    assert_one_new_view_each('successor_nuscenes', cameras=6)


@pytest.mark.parametrize(
    'name', [*OURS[:3], 'successor_minitown', 'successor_minitown_features', 'successor_minitown_past']
)
def test_a_minitown_entry_point_trains_two_iterations(town, tmp_path, name):
    places = [f'{loader}_dataloader.dataset.data_root={town}' for loader in ('train', 'val')]
    places += [f'{loader}_dataloader.dataset.data_prefix.teacher=../town_emernerf' for loader in ('train', 'val')]
    two_iterations_as_they_are(name, tmp_path, *places)


@pytest.mark.parametrize(
    ('name', 'source'),
    [
        *(('model_wrapper_pandaset', source) for source in PANDASET),
        *(
            pytest.param(name, source, marks=() if source == 'shipped' else pytest.mark.slow)
            for name in OURS[4:]
            for source in PANDASET
        ),
        ('successor_pandaset', 'shipped'),
        ('successor_pandaset_teacher', 'shipped'),
    ],
)
def test_a_pandaset_entry_point_trains_two_iterations(tmp_path, name, source):
    known, infos = PANDASET[source], tmp_path / 'infos'
    ranges = zip(('--train-frames', '--val-frames'), (known.train, known.val), strict=True)
    frames = [word for option, (first, last) in ranges for word in (option, f'{first}-{last}')]
    options = ('--root-path', known.root, '--out-dir', infos, '--step', known.step)
    assert run('create_data', 'pandaset', *options, *frames).code == 0
    loaders = ('train', 'val')
    places = [f'{loader}_dataloader.dataset.data_root={infos}' for loader in loaders]
    places += [f'{loader}_dataloader.dataset.data_prefix.img={known.root}' for loader in loaders]
    places.append(f'train_dataloader.dataset.lidar_sweeps={known.sweeps}')
    if name.endswith('_teacher'):
        teacher = tmp_path / 'teacher'
        lidar_teacher(infos, known.root, teacher)
        places.append(f'train_dataloader.dataset.data_prefix.teacher={teacher}')
        # This teacher has no colors, so no virtual views.
        without = ('virtual_img_target_smart_sample', 'one_new_view_each')
        places += [f'train_dataloader.dataset.{option}=False' for option in without]
    if name.endswith('_foundation'):
        extract_features(infos, known.root, tmp_path)
        places += [f'{loader}_dataloader.dataset.data_prefix.features={tmp_path / "feat"}' for loader in loaders]
    two_iterations_as_they_are(name, tmp_path / 'out', *places)


def extract_features(infos: Path, raw: Path, folder: Path) -> None:
    """Write the features of a tiny model of random weights."""
    model = write_model(folder / 'dino', 'dino', hidden_size=64)
    options = ('--model', model, '--root', raw, '--out', folder / 'feat', '--size', 40, 72)
    result = run('extract_features', 'dino', '--data', *sorted(infos.glob('*.pkl')), *options)
    assert result.code == 0, result.err


def lidar_teacher(infos: Path, raw: Path, out: Path) -> None:
    """Make the files of the teacher that needs no training."""
    options = [f'scene_nerf.ann_files={[str(path) for path in sorted(infos.glob("*.pkl"))]}']
    options += [f'scene_nerf.roots.img={raw}', f'scene_nerf.roots.lidar={infos}']
    export = ('--out', out, '--method', 'lidar', '--views', '0_0_0', '--size', 64, 112, '--no-report')
    result = run('render_scene_nerf', FOLDER / 'scene_nerf_pandaset.py', 'None', *export, '--cfg-options', *options)
    assert result.code == 0, result.err


def test_all_entry_points_have_a_row_in_the_documentation():
    text = (ROOT / 'docs/TRAINING.md').read_text()
    names = [path.stem for path in FOLDER.glob('*.py')]
    assert set(ENTRIES) < set(names)
    assert not [name for name in names if f'`{name}`' not in text]
