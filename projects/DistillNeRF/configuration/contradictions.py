"""Settings of a config that do nothing because of others, or that lack what they need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from torch import nn

from ..utils.errors import InputError
from .layers import value_of
from .options import DATASET, all_datasets
from .suggestions import did_you_mean

# Sections that are of use together only.
TOGETHER = (
    ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    ('val_dataloader', 'val_cfg', 'val_evaluator'),
    ('test_dataloader', 'test_cfg', 'test_evaluator'),
)
# Options of a dataset that ask for files, and the transforms that read them; then all transforms of this project.
TRANSFORM_OF = {'load_teacher': 'LoadTeacher', 'load_truth': 'LoadTruth', 'load_features': 'LoadFeatures'}
OURS = {
    *('LoadViews', 'LoadLidarDepth', 'SkyFromLidar', 'CodeBookFeatures', 'LidarCodeBookFeatures', 'PackViews'),
    *('FlipViews', 'ZoomViews', 'DropPast', 'LoadDepthFeatures', *TRANSFORM_OF.values()),
}
# Options of a dataset that count only while evaluating, or only while training.
WHILE_TESTING = ('add_next_frame_for_eval', 'gts', 'label_maps')
WHILE_TRAINING = (
    *('training_target_smart_sample', 'virtual_img_target_smart_sample', 'one_new_view_each', 'resize_teacher'),
)
# Names of the figures of each metric, without those of groups, which come before them.
FIGURES = {
    'ImageMetric': ('psnr', 'ssim', 'ssim_gaussian', 'lpips'),
    'FeatureMetric': ('psnr',),
    'QueryMetric': ('miou',),
    'DepthMetric': ('abs_rel', 'sq_rel', 'rmse', 'rmse_log', 'a1', 'a2', 'a3', 'holes'),
    'OccupancyMetric': (
        *('iou', 'miou', 'miou_star', 'foreground_miou'),
        *('ray_iou', 'ray_iou_1m', 'ray_iou_2m', 'ray_iou_4m'),
    ),
}


def check_what_wins(config: Config) -> None:
    """Check for settings that do nothing because of others.

    Raises:
        InputError: there is one.
    """
    if config.get('launcher', 'none') != 'none':
        raise InputError(f'{config.filename}: launcher is no setting; start with --launcher {config.launcher}')
    if config.get('data_preprocessor') is not None and value_of(config, 'model.data_preprocessor') is not None:
        raise InputError(f'{config.filename}: model.data_preprocessor beats data_preprocessor; leave the latter away')
    _check_past(config)
    for path, dataset in all_datasets(config):
        if dataset.get('type') == DATASET:
            _check_dataset(config, path, dataset)
            if dataset.get('resize_teacher'):
                _check_resized_teacher(config, path)


def _check_past(config: Config) -> None:
    """Check that what is said of the past is of use."""
    if value_of(config, 'model.network.past_gradient') and not value_of(config, 'model.network.num_past'):
        raise InputError(
            f'{config.filename}: model.network.past_gradient=True does nothing without model.network.num_past=1; '
            'leave it away'
        )
    if value_of(config, 'model.network.source_blend.past') and not value_of(config, 'model.network.num_past'):
        raise InputError(
            f'{config.filename}: model.network.source_blend.past=True takes colors of the past, but there is none; set '
            'model.network.num_past=1, too, or leave it away'
        )
    alone = value_of(config, 'model.num_camera') == 1 and not value_of(config, 'model.network.num_past')
    if alone and value_of(config, 'model.network.plane_sweep'):
        raise InputError(
            f'{config.filename}: model.network.plane_sweep compares views with each other, but there is one camera and '
            'no past; set model.network.num_past=1, or leave it away'
        )


def _check_dataset(config: Config, path: str, dataset: Mapping[str, Any]) -> None:
    """Check the options of the dataset at the dotted key ``path``."""
    testing = bool(dataset.get('test_mode'))
    for name in WHILE_TRAINING if testing else WHILE_TESTING:
        if dataset.get(name):
            raise InputError(f'{config.filename}: {path}.{name} does nothing with test_mode={testing}; leave it away')
    if not testing and dataset.get('test_samples', 'all') != 'all':
        raise InputError(f'{config.filename}: {path}.test_samples does nothing with test_mode=False; use indices')
    kinds = {_type_of(transform) for transform in dataset.get('pipeline') or ()}
    for name, transform in TRANSFORM_OF.items():
        if dataset.get(name) and transform not in kinds and kinds <= OURS:
            raise InputError(
                f'{config.filename}: {path}.{name}=True does nothing, as its pipeline has no {transform}; add '
                f"dict(type='{transform}') before PackViews, or leave {name} away"
            )
    if testing and 'DropPast' in kinds:
        raise InputError(
            f'{config.filename}: DropPast in {path}.pipeline leaves the past out of samples at random, which changes '
            'the figures of every test; it is for training, leave it away'
        )
    if 'DropPast' in kinds and not dataset.get('num_past'):
        raise InputError(
            f'{config.filename}: DropPast in {path}.pipeline does nothing, as no past is loaded; set '
            'model.network.num_past=1, or leave it away'
        )


def _check_resized_teacher(config: Config, path: str) -> None:
    """Check that no loss takes single depths of the teacher, which bilinear resizing would mix."""
    for name, loss in (value_of(config, 'model.losses') or {}).items():
        if loss and 'density' in (name, loss.get('compares')):
            raise InputError(
                f'{config.filename}: {path}.resize_teacher mixes depths that the loss {name} takes as they are stored; '
                'leave one of them away'
            )


def check_sizes(config: Config, loader: str) -> None:
    """Compare the sizes of a loader's images: they are rendered at their size divided by ``model.network.downscale``.

    Raises:
        InputError: they do not fit.
    """
    downscale = (config.model.get('network') or {}).get('downscale')
    sizes = [config[loader].get('dataset', {}).get(name) for name in ('image_size', 'render_size')]
    if downscale is None or None in sizes:
        return
    image, render = map(tuple, sizes)
    if image != tuple(side * downscale for side in render):
        raise InputError(
            f'{config.filename}: {loader}.dataset has image_size {image} and render_size {render}, but images are '
            f'rendered at 1/{downscale} of their size (model.network.downscale); correct one of the three'
        )


def check_together(config: Config) -> None:
    """Check sections of which a run needs all or none.

    Raises:
        InputError: some are there, others not.
    """
    for names in TOGETHER:
        given = [name for name in names if config.get(name) is not None]
        if missing := [name for name in names if name not in given and given]:
            raise InputError(
                f'{config.filename}: {given[0]} does nothing without {" and ".join(missing)}; give all of '
                f'{", ".join(names)}, or set all of them to None'
            )


def check_validation(config: Config) -> None:
    """Check the metrics of the validation, and the one that chooses the best checkpoint (``save_best``).

    Raises:
        InputError: a metric of colors for a network that renders features, or a best checkpoint by no metric.
    """
    if config.get('val_cfg') is None:
        return
    metrics = config.val_evaluator if isinstance(config.val_evaluator, list) else [config.val_evaluator]
    kinds = {_type_of(metric) for metric in metrics}
    if 'ImageMetric' in kinds and value_of(config, 'model.network.head.type') == 'feature':
        raise InputError(
            f'{config.filename}: val_evaluator has an ImageMetric, but the network renders no colors; set '
            "val_evaluator=[dict(type='DepthMetric')]"
        )
    known = [name for kind in sorted(kinds & set(FIGURES)) for name in FIGURES[kind]]
    best = value_of(config, 'default_hooks.checkpoint.save_best') or ()
    for name in [best] if isinstance(best, str) else best:
        if kinds <= set(FIGURES) and name != 'auto' and name.rpartition('/')[2] not in known:
            raise InputError(
                f'{config.filename}: default_hooks.checkpoint.save_best is {name}, which val_evaluator does not '
                f'measure{did_you_mean(name, known)}; choose from {", ".join(known)}, or None'
            )


def check_custom_keys(config: Config, model: nn.Module) -> None:
    """Check the names in ``paramwise_cfg.custom_keys``, which give single parameters their learning rates and decays.

    Raises:
        InputError: no parameter has such a name.
    """
    for key in value_of(config, 'optim_wrapper.paramwise_cfg.custom_keys') or {}:
        if not any(key in name for name, _ in model.named_parameters()):
            parts = sorted({'.'.join(name.split('.')[:2]) for name, _ in model.named_parameters()})
            raise InputError(
                f'{config.filename}: optim_wrapper.paramwise_cfg.custom_keys has {key!r}, which is in the name of no '
                f'parameter; names begin with {", ".join(parts)}'
            )


def _type_of(component: Any) -> str | None:
    return component.get('type') if isinstance(component, Mapping) else None
