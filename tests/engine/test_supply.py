"""What was asked for and has no data at all is refused; what is missing in part is counted."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

from projects.DistillNeRF.datasets.infos import load_infos, save_infos
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.boxworld import BoxWorld
from tests.helpers.commands import Project, run, write_config, write_data
from tests.helpers.dataset import PIPELINE, build_dataset
from tests.helpers.refusals import assert_refused


@pytest.fixture
def own(tmp_path) -> Project:
    """A tiny project of one's own."""
    root = write_data(tmp_path / 'data')
    return write_config(tmp_path / 'config.py', root)


def change_infos(root: Path, change) -> None:
    """Change every record."""
    metainfo, infos = load_infos(root / 'infos.pkl')
    for info in infos:
        change(info)
    (root / 'infos.pkl').write_bytes(pickle.dumps({'metainfo': metainfo, 'data_list': infos}))


def no_lidar(info: dict) -> None:
    info.update(lidar_points=None, lidar_sweeps=[])


def train(project: Project, *options: str):
    arguments = ('--cfg-options', *options) if options else ()
    return run('train', project.config, '--work-dir', project.root / 'work', *arguments)


SKIP = (
    'train_dataloader.dataset.SKIP_MISSING=True',
    'val_dataloader.dataset.SKIP_MISSING=True',
    'train_dataloader.dataset.load_teacher=True',
)
TEACHER = 'model.losses.teacher_depth.type=TeacherDepthLoss'


def test_a_loss_of_lidar_without_lidar_is_refused(own):
    change_infos(own.root, no_lidar)
    assert_refused(
        train(own),
        f'{own.root}/infos.pkl: the loss lidar_depth is asked for, but no sample has LiDAR',
        'model.losses.lidar_depth=None',
    )
    assert not list((own.root / 'work').glob('*.pth'))


@pytest.mark.parametrize('options', [('model.losses.lidar_depth=None',), ('model.losses.lidar_depth.loss_weight=0',)])
def test_the_hint_for_a_loss_without_data_works(own, options):
    change_infos(own.root, no_lidar)
    result = train(own, *options, 'val_evaluator=None', 'val_cfg=None', 'val_dataloader=None', 'train_cfg.max_iters=1')
    assert result.code == 0, result.err
    assert 'infos.pkl: 3 of 3 samples have no LiDAR of their own' in result.err


def test_a_loss_of_the_teacher_without_its_depth_is_refused(own):
    shutil.rmtree(own.root / 'samples_0_0_0_0_0_0/depths')
    result = train(own, *SKIP, TEACHER)
    assert_refused(result, 'the loss teacher_depth is asked for, but no sample has teacher depth')
    assert '(teacher depth 6 of 6, teacher sky_mask 0 of 6): NaN instead' in result.err


def test_a_loss_of_features_without_features_is_refused(own):
    for path in own.root.glob('*/frame*.npy'):
        path.unlink()
    names = ('LoadViews', 'LoadLidarDepth', 'LoadTeacher', 'LoadFeatures', 'PackViews')
    transforms = [{'type': name} for name in names]
    with own.config.open('a') as file:
        file.write(f"train_dataloader['dataset'] = dict(_sizes, pipeline={transforms})\n")
    options = ('train_dataloader.dataset.SKIP_MISSING=True', 'train_dataloader.dataset.load_features=True')
    assert_refused(
        train(own, *options, 'model.losses.features.type=RGBL1Loss'),
        'the loss features is asked for, but no sample has features',
    )


def test_validation_of_depth_without_any_is_refused_before_training(own):
    metainfo, infos = load_infos(own.root / 'infos.pkl')
    for info in infos:
        no_lidar(info)
    save_infos(own.root / 'val.pkl', 'boxworld', metainfo['cameras'], infos)
    val = [
        f'val_dataloader.dataset.{option}' for option in ('ann_file=val.pkl', 'load_truth=False', 'load_teacher=False')
    ]
    assert_refused(
        train(own, *val),
        'val.pkl: val_evaluator asks for DepthMetric, but no sample has LiDAR, teacher depth or true depth',
    )


def test_samples_that_are_trained_and_validated_on_are_counted(own):
    result = train(own, 'train_cfg.max_iters=1')
    assert '3 of 3 validation samples are training samples, too (such as box0)' in result.err


TEST = [f'test_dataloader.dataset.{option}' for option in ('load_truth=False', 'load_teacher=False')]


def test_an_evaluation_without_data_is_refused_if_asked_for_and_left_out_if_not(own):
    change_infos(own.root, no_lidar)
    arguments = (own.config, 'None', '--work-dir', own.root / 'work')
    assert_refused(
        run('test', *arguments, '--eval', 'depth', '--cfg-options', *TEST),
        '--eval depth is asked for, but no test sample has LiDAR, teacher depth or true depth',
    )
    # Nobody asked by name: what is there is evaluated, and the rest told.
    result = run('test', *arguments, '--cfg-options', *TEST)
    assert result.code == 0 and 'no evaluation depth' in result.err and 'abs_rel' not in result.out


def test_an_evaluation_of_novel_views_needs_a_next_frame(own):
    arguments = (own.config, 'None', '--work-dir', own.root / 'work', '--eval', 'novel_view', '--cfg-options', *TEST)
    assert_refused(
        run('test', *arguments, 'test_dataloader.dataset.add_next_frame_for_eval=False'),
        'set test_dataloader.dataset.add_next_frame_for_eval=True',
    )
    assert_refused(
        run('test', *arguments, 'test_dataloader.dataset.indices=[2]'),
        '--eval novel_view is asked for, but no test sample has a next frame',
    )
    change_infos(own.root, lambda info: info.update(prev=None, next=None))
    assert_refused(run('test', *arguments), 'no test sample has a next frame')


def test_evaluating_depth_is_refused_if_lidar_lies_beyond_every_view(own):
    """LiDAR is there, but nothing of it is in a view: known only after the evaluation."""
    arguments = (own.config, 'None', '--work-dir', own.root / 'work', '--eval', 'depth', '--cfg-options', *TEST)
    assert_refused(
        run('test', *arguments, 'test_dataloader.dataset.lidar_range=1.01'),
        '--eval depth is asked for, but no test sample gives a figure',
    )


def test_a_resumed_training_on_other_data_is_a_warning(own):
    options = ('train_cfg.max_iters=1', 'train_cfg.val_interval=9', 'default_hooks.checkpoint.interval=1')
    arguments = (own.config, '--work-dir', own.root / 'work', '--resume', '--cfg-options', 'custom_hooks=[]')
    assert run('train', *arguments, *options).code == 0
    again = run('train', *arguments, *options[1:], 'train_cfg.max_iters=2')
    assert again.code == 0 and 'was trained on other data' not in again.err
    change_infos(own.root, lambda info: info.update(sample_idx=info['sample_idx'] + 1))
    changed = run('train', *arguments, *options[1:], 'train_cfg.max_iters=3')
    assert changed.code == 0 and 'trained_on.json: the run that goes on was trained on other data' in changed.err


# --- the dataset


def told(capsys) -> list[str]:
    """The warnings so far, without that of the box world's rig: its camera at the back sees what no other sees."""
    return [line for line in capsys.readouterr().err.splitlines() if 'sees nothing that another' not in line]


def test_lidar_in_no_view_is_told_once(tmp_path, capsys):
    root = BoxWorld(frames=2, lidar_frames=(0, 1)).write(tmp_path).parent
    dataset = build_dataset(root, lidar_range=1.01)
    assert not told(capsys)
    assert all(dataset[index]['inputs']['input_views'].lidar_depth.isnan().all() for index in range(2))
    line = f'warning: {root}/lidar/0.bin: none of its points lies in a view of its sample'
    (only,) = told(capsys)
    assert only.startswith(line)


def test_sweeps_that_no_sample_lists_are_refused(tmp_path, capsys):
    root = BoxWorld(frames=2, lidar_frames=(0, 1)).write(tmp_path).parent
    build_dataset(root, lidar_sweeps=3)
    assert not told(capsys)
    build_dataset(root, lidar_sweeps=10)
    assert 'infos.pkl: 2 of 2 samples list fewer than the 9 sweeps of lidar_sweeps=10, 0 of them none' in (
        capsys.readouterr().err
    )
    change_infos(root, lambda info: info.update(lidar_sweeps=[]) if info['frame'] else None)
    build_dataset(root, lidar_sweeps=3)
    assert '1 of 2 samples list fewer than the 2 sweeps of lidar_sweeps=3, 1 of them none' in capsys.readouterr().err
    change_infos(root, lambda info: info.update(lidar_sweeps=[]))
    with pytest.raises(
        InputError, match='lidar_sweeps is 3, but no sample lists LiDAR beside its own; set lidar_sweeps=1'
    ):
        build_dataset(root, lidar_sweeps=3)
    build_dataset(root, lidar_sweeps=1)
    build_dataset(root, lidar_sweeps=3, load_lidar=False)


def test_lidar_of_a_part_is_counted(tmp_path, capsys):
    root = BoxWorld(lidar_frames=(1,)).write(tmp_path).parent
    dataset = build_dataset(root)
    assert told(capsys) == [f'warning: {root}/infos.pkl: 2 of 3 samples have no LiDAR of their own']
    assert (dataset.availability['LiDAR'].there, dataset.availability['LiDAR'].total) == (1, 3)


def test_maps_are_counted_by_name(tmp_path, capsys):
    root = BoxWorld(frames=1, lidar_frames=(0,)).write(tmp_path).parent
    shutil.rmtree(root / 'samples_0_0_0_0_0_0/gt_sky_masks')
    (root / 'FRONT/frame0.npy').unlink()
    dataset = build_dataset(root, load_teacher=True, load_features=True, SKIP_MISSING=True)
    assert told(capsys) == [
        f'warning: {root}/infos.pkl: 6 of 12 teacher files are missing '
        '(teacher depth 0 of 6, teacher sky_mask 6 of 6): NaN instead',
        f'warning: {root}/infos.pkl: 1 of 6 features files are missing: NaN instead',
    ]
    assert {name: part.there for name, part in dataset.availability.items()} == {
        'LiDAR': 1,
        'teacher depth': 6,
        'teacher sky_mask': 0,
        'features': 5,
    }


def test_virtual_views_that_are_missing_are_refused_or_counted(tmp_path, capsys):
    root = BoxWorld(frames=1, lidar_frames=(0,)).write(tmp_path).parent
    options = {'virtual_img_target_smart_sample': True, 'SKIP_MISSING': True}
    for name in ('-1_0_0', '1_0_0'):
        (root / f'samples_{name}_0_0_0/rgbs/FRONT/frame0.jpg').unlink()
    build_dataset(root, **options)
    assert 'infos.pkl: 1 of 6 images have no virtual view' in capsys.readouterr().err
    for name in ('-1_0_0', '1_0_0'):
        shutil.rmtree(root / f'samples_{name}_0_0_0')
    with pytest.raises(
        InputError, match=r'no virtual view of any of its samples .*leave virtual_img_target_smart_sample'
    ):
        build_dataset(root, **options)


def test_frames_without_neighbors_are_a_warning(tmp_path, capsys):
    root = BoxWorld(frames=1, lidar_frames=(0,)).write(tmp_path).parent
    build_dataset(root, training_target_smart_sample=True)
    assert 'infos.pkl: no sample has another frame as a target' in capsys.readouterr().err


@pytest.mark.parametrize(
    'change',
    [
        lambda info: info.update(instances=[]),
        lambda info: [box.update(bbox_label=-1) for box in info['instances']],
    ],
    ids=['empty', 'unknown'],
)
def test_detection_without_a_box_is_refused(tmp_path, change):
    root = BoxWorld(frames=2, lidar_frames=(0, 1)).write(tmp_path).parent
    build_dataset(root, load_boxes=True, pipeline=list(PIPELINE))
    change_infos(root, change)
    with pytest.raises(InputError, match='none of its 2 samples has a box of a known category'):
        build_dataset(root, load_boxes=True, pipeline=list(PIPELINE))
