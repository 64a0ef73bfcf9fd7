"""Novel views of MiniTown compared with the true views from there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor
from tqdm import tqdm

from projects.MiniTown.true_views import MAKE_AGAIN, TrueViews

from ..apis import init_model, reconstruct
from ..evaluation.depth import average, depth_errors, distance_to_z, resample_depth
from ..evaluation.features import ClassCounts, classes_by_name, count_classes
from ..evaluation.holes import is_hole, share_of_holes
from ..evaluation.image import psnr, ssim
from ..evaluation.report import table
from ..geometry.trajectories import distinct, move_cameras, trajectory
from ..geometry.views import Views
from ..models.network import DistillNeRF
from ..models.scene import Rendering
from ..pipelines.class_codes import seen_classes
from ..semantics.classes import CLASSES, code_book
from ..semantics.phrases import minitown_phrases
from ..semantics.text_encoders import CODE_BOOK, Encoder, make_queries
from ..utils.errors import InputError
from ..utils.files import require_writable, save_json
from ..utils.precision import DEFAULT
from .builders import build_dataset

# Largest mean difference between a stored image and the town built again; that of JPEG is 0.007.
SAME = 0.02
SHOWN_OF_DEPTH = ('abs_rel', 'rmse', 'a1', 'holes')


def compare_with_truth(
    config: Config,
    checkpoint: str | None,
    name: str,
    samples: int | None = None,
    out: Path | None = None,
    precision: str = DEFAULT,
) -> str:
    """Compare novel views of the test data with the truth, at every distinct pose of a trajectory.

    Args:
        config: as loaded; its test data must be a MiniTown.
        checkpoint: its file; ``None`` for random weights.
        name: of the trajectory, or its JSON file.
        samples: how many, evenly spread over the test data; ``None`` for all.
        out: a JSON file for all figures; ``None`` for no file.
        precision: of the network (:mod:`..utils.precision`).

    Returns:
        a table with a row per pose and one of their mean.

    Raises:
        InputError: the test data is no MiniTown, features of the network are not those of words, or bad files.
    """
    motions = distinct(trajectory(name))
    dataset = build_dataset(config, 'test')
    total = len(dataset)
    if samples is not None and not 1 <= samples <= total:
        raise InputError(f'{samples} samples: the test data has {total}; ask for 1 to {total}')
    model = init_model(config, checkpoint, precision=precision)
    measure: ColorErrors | FeatureErrors = ColorErrors()
    if model.head.renders == 'features':
        measure = FeatureErrors(config.model.get('text_encoder'), model.head.settings['out_channels'])
    truth = TrueImages(dataset.data_root, None if isinstance(measure, ColorErrors) else dataset.render_size)
    if out is not None:
        require_writable(out.parent)
    chosen = np.unique(np.linspace(0, total - 1, samples or total).round().astype(int)).tolist()
    with tqdm(desc='true views', total=len(chosen) * len(motions), unit='pose') as bar:
        results = [list(_errors(dataset[number], truth, model, motions, measure, bar)) for number in chosen]
    figures = [measure.merge(list(errors)) for errors in zip(*results, strict=True)]
    if out is not None:
        poses = [{'motion': m.tolist(), **f} for m, f in zip(motions, figures, strict=True)]
        about = {'config': config.filename, 'checkpoint': checkpoint, 'trajectory': name, 'samples': chosen}
        save_json(out, {**about, 'poses': poses, 'mean': average(figures)}, indent=2)
    rows = {pose_label(motion): errors for motion, errors in zip(motions, figures, strict=True)} | {
        'mean': average(figures)
    }
    return table({key: {row: errors[key] for row, errors in rows.items()} for key in measure.shown}, list(rows), 'pose')


@torch.no_grad()
def _errors(
    packed: dict,
    truth: TrueImages,
    model: DistillNeRF,
    motions: Tensor,
    measure: Callable[[Rendering, Views], Any],
    bar: tqdm,
) -> Iterator[Any]:
    """Yield what is measured of one packed sample, motion by motion."""
    views, meta = packed['inputs']['input_views'], packed['data_samples']
    truth.check(views, meta.scene, meta.frame)
    scene = reconstruct(model, views)
    for motion in motions:
        true = truth.views(views, meta.scene, meta.frame, motion)
        yield measure(scene.render(true.cameras, withhold_own=True), true)
        bar.update()


def pose_label(motion: Tensor) -> str:
    """Return the shift in meters, and degrees to the left if the rig is turned."""
    x, y, z = (f'{value:+.2f}' for value in (motion[:3, 3] + 0.0).tolist())
    yaw = torch.rad2deg(torch.atan2(motion[1, 0], motion[0, 0])).item()
    return f'x {x} y {y} z {z}' + (f' yaw {yaw:+.1f}' if abs(yaw) > 0.05 else '')


class TrueImages:
    """Render true views in the form in which the dataset loads views.

    Args:
        root: data root of a MiniTown.
        render_size: (rows, columns) of the true classes that views then have, and of the features, the codes of these;
            None: none.

    Raises:
        InputError: there is none.
    """

    def __init__(self, root: str | os.PathLike, render_size: tuple[int, int] | None = None) -> None:
        self.root, self._town, self._render_size = root, TrueViews(root), render_size

    def views(self, views: Views, scene: str, keyframe: int, motion: Tensor) -> Views:
        """Return what the cameras of input views see after a motion ``(4, 4)`` of the rig: images, true depth (z)."""
        size = views.cameras.height, views.cameras.width
        images, depths, classes = [], [], []
        for camera in views.names:
            render = self._town.render(scene, keyframe, camera, motion.double().cpu().numpy())
            # As the transforms of the dataset do it: images bilinear, depth at the middle of the pixels.
            images.append(cv2.resize(render.rgb, size[::-1], interpolation=cv2.INTER_LINEAR))
            rows, columns = (
                ((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(size, render.depth.shape, strict=True)
            )
            depths.append(render.depth[rows[:, None], columns])
            if self._render_size is not None:
                classes.append(seen_classes(render.classes, size, self._render_size))
        seen = torch.from_numpy(np.stack(classes)).long() if classes else None
        return Views(
            images=torch.from_numpy(np.stack(images)).movedim(-1, 1).float() / 255,
            cameras=move_cameras(views.cameras, motion[None]),
            names=views.names,
            frames=views.frames,
            true_depth=torch.from_numpy(np.stack(depths)),
            features=None if seen is None else torch.from_numpy(code_book())[seen].movedim(-1, 1).contiguous(),
            true_classes=None if seen is None else seen.float(),
        )

    def check(self, views: Views, scene: str, keyframe: int) -> None:
        """Check that the town, built again, looks like the stored images.

        Raises:
            InputError: it does not, because another version made them.
        """
        again = self.views(views, scene, keyframe, torch.eye(4, dtype=torch.float64))
        difference = (again.images - views.images).abs().mean(dim=(1, 2, 3))
        if difference.max() > SAME:
            camera = views.names[int(difference.argmax())]
            raise InputError(
                f'{self.root}: {scene}, key frame {keyframe}, {camera} looks different when the town is built again: '
                f'another version made these files; {MAKE_AGAIN}'
            )


class ColorErrors:
    """Measure PSNR, SSIM and depth errors of views of a network of colors."""

    shown = ('psnr', 'ssim', *SHOWN_OF_DEPTH)

    def __call__(self, rendering: Rendering, true: Views) -> dict[str, float]:
        """Return the figures of the views of one sample."""
        return novel_view_errors(rendering, true)

    def merge(self, results: list[dict[str, float]]) -> dict[str, float]:
        """Average over samples."""
        return average(results)


class FeatureErrors:
    """Measure IoU of queries and depth errors of views of a network of features, and the PSNR of class codes.

    Args:
        encoder: ``model.text_encoder``. Only features of the code book are known at true views: those of other encoders
            have no PSNR.
        channels: of the rendered features.

    Raises:
        InputError: the encoder does not fit.
    """

    def __init__(self, encoder: Encoder, channels: int) -> None:
        self._coded = encoder == CODE_BOOK
        self._queries = make_queries(encoder, list(minitown_phrases(encoder).values()), channels)
        self.shown = (*(['feature/psnr'] if self._coded else []), 'query/miou', *SHOWN_OF_DEPTH)

    def __call__(self, rendering: Rendering, true: Views) -> tuple[dict[str, float], ClassCounts]:
        """Return the figures of the views of one sample, and their pixels by class."""
        rendered = rendering.features.cpu()
        classes = classes_by_name(true, CLASSES, rendered.shape[-2:])
        figures = {'feature/psnr': psnr(rendered, true.features)} if self._coded else {}
        figures |= true_depth_errors(rendering, true)
        return figures, ClassCounts({'': count_classes(rendered, classes, self._queries)})

    def merge(self, results: list[tuple[dict[str, float], ClassCounts]]) -> dict[str, float]:
        """Average over samples; IoU is of all pixels."""
        figures, counts = zip(*results, strict=True)
        queries = sum(counts, ClassCounts()).figures(CLASSES)
        return average(list(figures)) | {f'query/{name}': value for name, value in queries.items()}


def true_depth_errors(rendering: Rendering, true: Views) -> dict[str, float]:
    """Return depth errors up to 80 m and the share of holes, over all views together."""
    z = resample_depth(distance_to_z(rendering.depth.cpu(), true.cameras), *true.true_depth.shape[-2:])
    return depth_errors(z, true.true_depth) | share_of_holes(*is_hole(rendering.opacity.cpu(), true.true_depth))


def novel_view_errors(rendering: Rendering, true: Views) -> dict[str, float]:
    """Return PSNR and SSIM of colors, clamped to [0, 1], and :func:`true_depth_errors`, over all views."""
    rgb = rendering.rgb.clamp(0, 1).cpu()
    return {'psnr': psnr(rgb, true.images), 'ssim': ssim(rgb, true.images), **true_depth_errors(rendering, true)}
