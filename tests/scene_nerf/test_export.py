"""What a teacher exports is what it sees, students load it, and nothing of another teacher is kept."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from projects.DistillNeRF.datasets.teacher_files import VIRTUAL_VIEWS
from projects.DistillNeRF.scene_nerf.export import (
    VIEWS,
    ExportOptions,
    ExportSummary,
    export,
    fill_unknown,
    inpaint,
    render_tasks,
    shifted,
    view_maps,
)
from projects.DistillNeRF.scene_nerf.teacher import TeacherRendering
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.boxtown import SMALL
from tests.helpers.dataset import build_dataset
from tests.helpers.oracle import Oracle, town_drive
from tests.helpers.refusals import assert_refused

SIZE = (SMALL['height'], SMALL['width'])
IMAGES, KINDS = 3 * 6, 2 + 3 * 3
PIPELINE = [{'type': name} for name in ('LoadViews', 'LoadLidarDepth', 'LoadTeacher', 'LoadTruth', 'PackViews')]


def run_export(teacher: Oracle, out: Path, source: str = 'one', **options) -> ExportSummary:
    chosen = ExportOptions(out, source, **{'size': SIZE, **options})
    return export(teacher.drive, chosen, lambda tasks: render_tasks(teacher, chosen, tasks))


class WithFeatures(Oracle):
    """An oracle with features: 64 multiples of the depth, in half the size; 0 in the sky."""

    def render(self, cameras, timestamp, recorded=()):
        seen = super().render(cameras, timestamp, recorded)
        depth = torch.where(seen.sky == 1, 0.0, seen.depth)[:, None, ::2, ::2]
        return dataclasses.replace(seen, features=depth * torch.arange(64.0).view(1, -1, 1, 1) / 64)


@pytest.fixture(scope='module')
def drive(town):
    return town_drive(town)


@pytest.fixture(scope='module')
def exported(town, drive, tmp_path_factory) -> Path:
    """What an oracle exports of both scenes; tests must not change it."""
    out = tmp_path_factory.mktemp('export') / 'teacher'
    assert run_export(Oracle(drive), out) == ExportSummary(written=IMAGES * KINDS)
    run_export(Oracle(town_drive(town, 'minitown-0002')), out)
    return out


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob('*')) if path.is_file()}


def test_depth_and_sky_are_those_of_the_truth(town, drive, exported):
    """The town wrote what is to be seen from the cameras and from shifted ones."""
    images = [image for image in drive.images if image.frame is not None]
    assert len(images) == IMAGES
    for image in images:
        stem = Path(image.path).stem
        truths = {view: town / f'truth/virtual/{view}/depth/{image.camera}/{stem}.npy' for view in VIRTUAL_VIEWS}
        for view, path in {'0_0_0': town / f'truth/depth/{image.camera}/{stem}.npy', **truths}.items():
            truth = np.load(path)
            depth = np.load(exported / f'samples_{view}_0_0_0/depths/{image.camera}/{stem}.npy')
            sky = np.load(exported / f'samples_{view}_0_0_0/gt_sky_masks/{image.camera}/{stem}.npy')
            assert depth.dtype == np.float16 and sky.dtype == np.uint8
            # Poses were written and read: a pixel at an edge may see what is beside it.
            close = np.isclose(depth.astype(float), truth.astype(float), rtol=2e-3, equal_nan=True)
            assert close.mean() > 0.995, (view, stem)
            assert (sky == np.isnan(truth)).mean() > 0.995


def test_colors_of_shifted_views_are_the_true_ones(town, drive, exported):
    for image in (image for image in drive.images if image.frame == 1):
        stem = Path(image.path).stem
        for view in VIRTUAL_VIEWS:
            rgb = np.array(Image.open(exported / f'samples_{view}_0_0_0/rgbs/{image.camera}/{stem}.jpg')).astype(int)
            truth = np.array(Image.open(town / f'truth/virtual/{view}/rgb/{image.camera}/{stem}.jpg')).astype(int)
            assert rgb.shape == (*SIZE, 3) and np.abs(rgb - truth).mean() < 3
    assert not (exported / 'samples_0_0_0_0_0_0/rgbs').exists()


@pytest.mark.parametrize('split', ['train', 'val'])
def test_the_loader_of_students_reads_it(town, exported, split):
    options = {'training_target_smart_sample': True, 'virtual_img_target_smart_sample': True}
    dataset = build_dataset(
        town,
        ann_file=f'minitown_infos_{split}.pkl',
        data_prefix={'teacher': str(exported)},
        image_size=SIZE,
        render_size=(28, 50),
        load_teacher=True,
        load_truth=True,
        pipeline=PIPELINE,
        enable_upward_virtual_cam=True,
        **options,
    )
    assert len(dataset) == 3
    seen = set()
    for sample in (dataset[position] for _ in range(3) for position in range(3)):
        targets = sample['inputs']['target_views']
        virtual = [number for number, name in enumerate(targets.names) if ' ' in name]
        seen |= {targets.names[number].split()[1] for number in virtual}
        original = [number for number in range(len(targets)) if number not in virtual]
        assert len(virtual) == 6 and targets.teacher_depth.shape[-2:] == SIZE
        assert set(targets.sky_mask.unique().tolist()) == {0, 1}
        depth, truth = targets.teacher_depth[original], targets.true_depth[original]
        both = depth.isfinite() & truth.isfinite()
        assert both.float().mean() > 0.5
        assert ((depth[both] / truth[both] - 1).abs() < 2e-3).float().mean() > 0.99
    assert seen == set(VIRTUAL_VIEWS)


def test_a_plane_has_the_same_z_from_all_views(drive, tmp_path):
    """Before a wall that faces the camera, 1 m to the side or up changes nothing."""

    class Wall:
        def render(self, cameras, timestamp, recorded=()):
            origin = cameras.cam2world[:1, :3, 3]
            z = 10 + ((origin - cameras.cam2world[:, :3, 3]) * cameras.cam2world[:, :3, 2]).sum(-1)
            depth = z[:, None, None].expand(-1, cameras.height, cameras.width)
            return TeacherRendering(depth, torch.zeros_like(depth))

    options = ExportOptions(tmp_path, 'wall', SIZE)
    summary = export(drive, options, lambda tasks: render_tasks(Wall(), options, tasks))
    assert summary.colorless == IMAGES * 3 and summary.written == IMAGES * 8
    assert {np.load(path).flat[0] for path in tmp_path.glob('*/depths/*/*.npy')} == {np.float16(10)}
    assert not list(tmp_path.rglob('*.jpg'))


def test_shifts_are_along_the_axes_of_the_camera(drive):
    camera = drive.images[0].camera_at(*SIZE)
    moved = shifted(camera, VIEWS)
    in_camera = torch.linalg.inv(camera.cam2world[0]) @ moved.cam2world
    expected = torch.tensor([[0.0, 0, 0], [-1, 0, 0], [1, 0, 0], [0, -1, 0]], dtype=torch.float64)
    torch.testing.assert_close(in_camera[:, :3, 3], expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(in_camera[:, :3, :3], torch.eye(3, dtype=torch.float64).expand(4, 3, 3))


def test_an_export_goes_on_where_it_stopped(drive, exported, tmp_path):
    """Cut after five images, it makes the rest; then nothing is left to do."""
    options = ExportOptions(tmp_path, 'one', SIZE)
    teacher = Oracle(drive)

    def stopped(tasks):
        for number, views in enumerate(render_tasks(teacher, options, tasks)):
            if number == 5:
                raise KeyboardInterrupt
            yield views

    with pytest.raises(KeyboardInterrupt):
        export(drive, options, stopped)
    again = run_export(Oracle(drive), tmp_path)
    assert (again.written, again.kept) == ((IMAGES - 5) * KINDS, 5 * KINDS)
    idle = Oracle(drive)
    assert run_export(idle, tmp_path) == ExportSummary(kept=IMAGES * KINDS)
    assert idle.calls == 0
    made = {name: content for name, content in files(tmp_path).items() if not name.startswith('made_from')}
    assert made.items() <= files(exported).items()


@pytest.mark.parametrize('change', ['teacher', 'size', 'damage', 'rgb'])
def test_what_is_not_current_is_made_again(drive, exported, tmp_path, change):
    run_export(Oracle(drive), tmp_path, views=('0_0_0', '1_0_0'))
    depth, rgb = (next(tmp_path.glob(f'*/{folder}/*/*')) for folder in ('depths', 'rgbs'))
    options = {'views': ('0_0_0', '1_0_0'), 'source': 'one', 'size': SIZE}
    everything = IMAGES * 5
    if change == 'teacher':
        summary = run_export(Oracle(drive, scale=2.0), tmp_path, **options | {'source': 'two'})
        before = np.load(exported / depth.relative_to(tmp_path)).astype(float)
        np.testing.assert_allclose(np.load(depth).astype(float), 2 * before, rtol=1e-3)
    elif change == 'size':
        summary = run_export(Oracle(drive), tmp_path, **options | {'size': (28, 50)})
        assert np.load(depth).shape == (28, 50)
    else:
        if change == 'damage':
            depth.write_bytes(depth.read_bytes()[:-2])
        else:
            rgb.unlink()
        summary = run_export(Oracle(drive), tmp_path, **options)
        files_of_view = 2 if '0_0_0_0_0_0' in str(depth) and change == 'damage' else 3
        assert (summary.written, summary.kept) == (files_of_view, everything - files_of_view)
        return
    assert (summary.written, summary.replaced, summary.kept) == (everything, everything, 0)


def test_views_of_another_teacher_that_are_not_made_again_are_told(drive, tmp_path, capsys):
    run_export(Oracle(drive), tmp_path)
    assert 'warning' not in capsys.readouterr().err
    run_export(Oracle(drive), tmp_path, source='two', views=('0_0_0', '1_0_0'))
    assert 'views -1_0_0 0_-1_0, which were not asked for' in capsys.readouterr().err


def test_color_of_another_teacher_does_not_stay(drive, tmp_path):
    run_export(Oracle(drive), tmp_path)
    summary = run_export(Oracle(drive, color=False), tmp_path, source='two')
    assert summary.colorless == IMAGES * 3
    assert not list(tmp_path.rglob('*.jpg'))
    again = Oracle(drive, color=False)
    run_export(again, tmp_path, source='two')
    assert again.calls == 0


def test_files_that_no_export_made_stay(drive, town, tmp_path):
    """Such as the truth that MiniTown puts beside its data."""
    before = files(town.parent / 'town_emernerf')
    line = assert_refused(lambda: run_export(Oracle(drive), town.parent / 'town_emernerf'), 'choose another --out')
    assert str(town.parent) in line
    assert files(town.parent / 'town_emernerf') == before


def test_what_is_unknown_is_neither_depth_nor_sky_nor_black(drive, tmp_path):
    summary = run_export(Oracle(drive, blind=0.5), tmp_path)
    assert summary.filled_color == pytest.approx(0.5) and summary.unknown_depth == pytest.approx(0.5)
    for path in tmp_path.glob('*/depths/*/*.npy'):
        assert np.isnan(np.load(path)[:, :50]).all()
        sky = path.parents[2] / 'gt_sky_masks' / path.parent.name / path.name
        assert not np.load(sky)[:, :50].any()
    picture = np.array(Image.open(next(tmp_path.glob('*/rgbs/CAM_FRONT/*.jpg')))).astype(int)
    assert np.abs(picture[:, :50] - picture[:, 51:52]).mean() < 12
    assert picture.min() > 20


def test_a_view_of_which_nothing_is_known_has_no_files(drive, tmp_path, capsys):
    run_export(Oracle(drive), tmp_path, views=('0_0_0',))
    summary = run_export(Oracle(drive, blind=1.0), tmp_path, source='two', views=('0_0_0',))
    assert (summary.written, summary.unknown_views) == (0, IMAGES)
    assert f'nothing is known of {IMAGES} of {IMAGES} views' in capsys.readouterr().err
    assert not list(tmp_path.rglob('*.npy'))


@pytest.mark.parametrize('depth', [8.3, 99.97, 250.0])
def test_half_precision_is_as_good_as_the_docs_say(depth):
    map_ = torch.full((1, 2, 2), depth)
    written = view_maps(TeacherRendering(map_, torch.zeros(1, 2, 2)), 0).depth.astype(float)
    assert np.abs(written / depth - 1).max() <= 1 / 2048


def test_depths_that_cannot_be_are_unknown():
    depth = torch.tensor([[[0.0, -1.0, 1e6], [torch.inf, torch.nan, 5.0]]])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        maps = view_maps(TeacherRendering(depth, torch.zeros(1, 2, 3)), 0)
    assert np.isfinite(maps.depth).tolist() == [[False] * 3, [False, False, True]]
    assert maps.unknown == pytest.approx(5 / 6)


def test_sky_is_where_more_than_half_is_sky():
    sky = torch.tensor([[[0.4, 0.6, torch.nan]]])
    maps = view_maps(TeacherRendering(torch.full((1, 1, 3), 9.0), sky), 0)
    assert maps.sky.tolist() == [[0, 1, 0]]
    assert np.isnan(maps.depth).tolist() == [[False, True, False]]


def test_unknown_pixels_continue_the_colors_around_them():
    """Of a slope of colors with a hole, all is there again; what is known stays."""
    rows, columns = np.mgrid[:24, :40]
    image = np.stack([40 + 4 * columns, 200 - 5 * rows, 90 + 2 * columns + rows], -1).astype(np.uint8)
    unknown = (abs(rows - 11) < 5) & (abs(columns - 20) < 6)
    hole = image.copy()
    hole[unknown] = 0
    filled = inpaint(hole, unknown)
    assert (filled[~unknown] == image[~unknown]).all()
    assert np.abs(filled.astype(int) - image)[unknown].mean() < 8
    assert inpaint(image, np.zeros_like(unknown)) is image


def test_each_unknown_feature_is_that_of_the_nearest_known_pixel():
    image = np.zeros((3, 9, 3), np.uint8)
    image[:, 0], image[:, 8] = (10, 20, 30), (200, 100, 50)
    unknown = np.ones((3, 9), bool)
    unknown[:, [0, 8]] = False
    filled = fill_unknown(image, unknown)
    assert (filled[:, :4] == (10, 20, 30)).all() and (filled[:, 5:] == (200, 100, 50)).all()


def test_another_shape_than_that_of_the_images_is_refused(drive, tmp_path):
    assert_refused(lambda: run_export(Oracle(drive), tmp_path, size=(50, 100)), 'another shape', '--size 56 100')
    assert not list(tmp_path.iterdir())
    run_export(Oracle(drive), tmp_path, size=(50, 100), views=('0_0_0',))


def test_a_teacher_that_no_student_would_load_is_refused(drive, tmp_path):
    assert_refused(lambda: run_export(Oracle(drive, scale=1000.0), tmp_path), 'no meters', 'train the teacher longer')
    assert not list(tmp_path.rglob('*.npy'))


@pytest.mark.parametrize('there', [False, True])
def test_a_teacher_that_is_refused_leaves_nothing_behind(drive, tmp_path, there):
    out = tmp_path / 'out'
    if there:
        out.mkdir()

    def refuse(tasks):
        raise InputError('the checkpoint is of another drive')

    options = ExportOptions(out, 'one', SIZE)
    assert_refused(lambda: export(drive, options, refuse), 'another drive')
    assert not list(tmp_path.rglob('*.json')) and out.exists() == there and not (out / 'made_from').exists()


def test_a_teacher_that_fails_midway_can_go_on(drive, tmp_path):
    options = ExportOptions(tmp_path, 'one', SIZE)

    def fail(tasks):
        yield next(render_tasks(Oracle(drive), options, tasks))
        raise RuntimeError('no memory')

    with pytest.raises(RuntimeError, match='no memory'):
        export(drive, options, fail)
    assert json.loads((tmp_path / 'made_from/minitown-0001.json').read_text())
    assert run_export(Oracle(drive), tmp_path) == ExportSummary(written=(IMAGES - 1) * KINDS, kept=KINDS)


def test_each_scene_has_a_list_of_what_its_files_were_made_from(exported):
    listed = [json.loads((exported / f'made_from/minitown-000{i}.json').read_text()) for i in (1, 2)]
    assert [len(entries) for entries in listed] == [IMAGES * KINDS] * 2
    assert not listed[0].keys() & listed[1].keys()


def test_students_read_features_of_all_views(town, drive, tmp_path):
    summary = run_export(WithFeatures(drive), tmp_path)
    assert summary.written == IMAGES * (KINDS + 4)
    assert run_export(WithFeatures(drive), tmp_path) == ExportSummary(kept=IMAGES * (KINDS + 4))
    run_export(WithFeatures(town_drive(town, 'minitown-0002')), tmp_path)
    dataset = build_dataset(
        town,
        ann_file='minitown_infos_train.pkl',
        data_prefix={'teacher': str(tmp_path), 'features': str(tmp_path / 'features')},
        image_size=SIZE,
        render_size=(28, 50),
        load_lidar=False,
        load_teacher=True,
        load_features=True,
        pipeline=[{'type': name} for name in ('LoadViews', 'LoadTeacher', 'LoadFeatures', 'PackViews')],
        virtual_img_target_smart_sample=True,
        enable_upward_virtual_cam=True,
    )
    for sample in (dataset[position] for position in range(3)):
        targets = sample['inputs']['target_views']
        assert sum(' ' in name for name in targets.names) == 6 and len(targets) == 12
        depth = torch.where(targets.sky_mask == 1, 0.0, targets.teacher_depth)[:, ::2, ::2]
        assert targets.features.shape == (12, 64, 28, 50) and depth.isfinite().all()
        expected = depth[:, None] * torch.arange(64.0).view(1, -1, 1, 1) / 64
        torch.testing.assert_close(targets.features, expected, rtol=2e-3, atol=1e-3)


def test_unknown_features_are_those_of_the_nearest_known_pixel(drive, tmp_path):
    run_export(WithFeatures(drive, blind=0.5), tmp_path, views=('0_0_0',))
    paths = list(tmp_path.glob('features/*/*.npy'))
    assert len(paths) == IMAGES
    for path in paths:
        features = np.load(path)
        assert features.dtype == np.float16 and np.isfinite(features).all()
        assert (features[:, 24] == features[:, 25]).all() and features.any()


def test_features_of_another_teacher_do_not_stay_and_missing_ones_are_made_again(drive, tmp_path):
    options = {'views': ('0_0_0', '1_0_0')}
    run_export(WithFeatures(drive), tmp_path, **options)
    gone = next(tmp_path.glob('features/samples_1_0_0_0_0_0/*/*'))
    gone.unlink()
    again = run_export(WithFeatures(drive), tmp_path, **options)
    assert (again.written, again.kept) == (4, IMAGES * 7 - 4) and gone.is_file()
    run_export(Oracle(drive), tmp_path, source='two', **options)
    assert not list((tmp_path / 'features').rglob('*.npy'))
    idle = Oracle(drive)
    run_export(idle, tmp_path, source='two', **options)
    assert idle.calls == 0
    # Those that no export made stay.
    gone.write_bytes(b'of a foundation model')
    other = json.loads((tmp_path / 'made_from/minitown-0001.json').read_text())
    (tmp_path / 'made_from/minitown-0001.json').write_text(
        json.dumps({name: entry for name, entry in other.items() if not name.startswith('features')})
    )
    run_export(Oracle(drive), tmp_path, source='three', **options)
    assert gone.read_bytes() == b'of a foundation model'
