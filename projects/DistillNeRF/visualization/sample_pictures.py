"""Write all pictures of one sample that the options ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..geometry.cameras import Cameras
from ..geometry.matrices import multiply
from ..geometry.trajectories import shifts
from ..geometry.views import Views
from ..models.scene import Scene
from ..semantics.feature_colors import palette
from ..semantics.text_encoders import make_queries, phrases_of
from ..utils.errors import InputError
from ..utils.files import file_stems
from .feature_rows import query_rows
from .options import PictureOptions
from .panel_layout import PanelRow, write_png
from .panels import assemble, panel_rows
from .voxel_pictures import VoxelPictures
from .voxels import colored_cells

# Camera names are shortened to this length in file names.
CAMERA_STEM = 100
# How far beside its camera a novel view is rendered, meters to the right.
BESIDE = 1.0


def draw_sample(fields: Mapping[str, Any], options: PictureOptions, directory: Path, number: int) -> list[Path]:
    """Draw all pictures of one sample.

    Args:
        fields: the prediction of :class:`..models.wrapper.DistillNeRFModel` for the sample.
        options: what to draw.
        directory: folder of the files.
        number: number of the sample, for the names of the files.

    Returns:
        Files and folders, the panel first.

    Raises:
        InputError: the options do not fit the network, or nothing can be written there.
    """
    inputs, targets = fields['input_views'], fields['target_views']
    title = ' '.join(str(fields[key]) for key in ('scene', 'frame') if key in fields)
    prediction = _with_novel_views(_with_features(fields, options), options)
    features = options.visualize_foundation_model_feat or options.visualize_imgs
    rows = panel_rows(inputs, targets, prediction, options.visualize_imgs, features)
    rows += _queries(prediction, options)
    voxels = _voxels(prediction, options)
    for part in voxels:
        rows += part.rows()
    files = [directory / f'panel_{number:03d}.png']
    write_png(files[0], assemble(rows, inputs, targets, title))
    for part in voxels:
        files += part.write(directory / f'voxels_{number:03d}', title)
    if options.save_visualized_imgs:
        files.append(_write_tiles(rows, directory / f'images_{number:03d}'))
    return files


def _colorings(scene: Scene, options: PictureOptions) -> tuple[str, ...]:
    """Return how voxels are colored; empty if they are not drawn."""
    if not options.visualize_voxels:
        return ()
    return options.voxel_colors or (scene.head.renders,)


def _with_features(fields: Mapping[str, Any], options: PictureOptions) -> dict[str, Any]:
    """Add rendered features to the prediction if they are to be drawn and are not there."""
    scene: Scene = fields['scene_field']
    drawn = options.visualize_foundation_model_feat or 'features' in _colorings(scene, options)
    if not drawn or 'features' in fields:
        return dict(fields)
    with torch.no_grad():
        return {**fields, 'features': scene.render(fields['target_views'].cameras, ('features',)).features}


@torch.no_grad()
def _with_novel_views(fields: dict[str, Any], options: PictureOptions) -> dict[str, Any]:
    """Add, of a network of colors, what each camera would see from :data:`BESIDE` its place."""
    scene: Scene = fields['scene_field']
    if not options.visualize_imgs or scene.head.renders != 'rgb':
        return fields
    return {**fields, 'beside': scene.render(_beside(fields['input_views'].cameras)).rgb}


def _beside(cameras: Cameras) -> Cameras:
    """Shift every camera to its own right."""
    motion = shifts(cameras.cam2world.new_tensor([[BESIDE, 0.0, 0.0]])).to(cameras.cam2world)
    return dataclasses.replace(cameras, cam2world=multiply(cameras.cam2world, motion.expand_as(cameras.cam2world)))


def _current(prediction: Mapping[str, Any]) -> tuple[Views, Tensor]:
    """Select the target views of the current instant and their rendered features."""
    views: Views = prediction['target_views']
    chosen = [i for i, frame in enumerate(views.frames) if frame == 0]
    return views[chosen], prediction['features'][chosen]


def _queries(prediction: Mapping[str, Any], options: PictureOptions) -> list[PanelRow]:
    if not options.language_query:
        return []
    if prediction['scene_field'].head.renders != 'features':
        raise InputError(
            'model.language_query needs a network that renders features, such as that of '
            'model_wrapper_minitown_features.py; this one renders colors'
        )
    views, features = _current(prediction)
    phrases = [phrases_of(query) for query in options.language_query]
    queries = make_queries(options.text_encoder, phrases, features.shape[1])
    return query_rows(views, features, options.language_query, queries)


@torch.no_grad()
def _voxels(prediction: Mapping[str, Any], options: PictureOptions) -> list[VoxelPictures]:
    scene: Scene = prediction['scene_field']
    inputs: Views = prediction['input_views']
    pictures = []
    for coloring in _colorings(scene, options):
        colors = None
        if coloring == 'features':
            views, features = _current(prediction)
            colors = palette(features, views.features)
        rendering = scene.render(inputs.cameras) if coloring == 'rgb' else None
        levels = colored_cells(scene, inputs.cameras, rendering, colors, coloring, options.voxel_min_density)
        pictures.append(VoxelPictures(coloring, levels, inputs, scene.space.inner_range))
    return pictures


def _write_tiles(rows: list[PanelRow], directory: Path) -> Path:
    """Write every tile as ``<camera>_<row>.png``, in the size in which it was computed."""
    cameras = list(dict.fromkeys(camera for row in rows for camera in row.tiles))
    stems = dict(zip(cameras, file_stems(cameras, CAMERA_STEM), strict=True))
    tiles = {f'{stems[camera]} {row.label}': tile for row in rows for camera, tile in row.tiles.items()}
    for stem, tile in zip(file_stems(list(tiles)), tiles.values(), strict=True):
        write_png(directory / f'{stem}.png', tile)
    return directory
