"""The report about a teacher: figures on what it was not trained on, pictures, a flight; JSON and one web page."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from PIL import Image

from ..semantics.feature_colors import palette
from ..utils.files import atomic_path, save_json
from ..visualization.colors import UNKNOWN_COLOR, color_shares, depth_to_colors
from ..visualization.panel_layout import ERROR_COLORMAP, LARGEST_ERROR, PanelRow, compose
from .drive import Drive, DriveImage
from .feature_maps import read_features
from .flight import color_picture, write_flight
from .lacks import find_lacks
from .scores import (
    ImageScore,
    PointDepths,
    feature_similarity,
    feature_summary,
    image_summary,
    images_of,
    merged,
    point_depths,
    render_image,
    score_image,
)
from .teacher import Teacher, TeacherRendering

JSON, PAGE, VIDEO = 'report.json', 'report.html', 'flight.mp4'
# As many keyframes are shown, evenly over the drive.
MOST_PICTURES = 3
TILE_WIDTH = 300
# name -> (step, value) of what training logged.
Curves = Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class ReportOptions:
    """What a report is about.

    Attributes:
        size: (height, width) of the images that are compared.
        frames: keyframes whose images the teacher was not trained on.
        lidar_frames: keyframes whose LiDAR it was not trained on.
        title: name of the teacher and its scene.
        curves: what its training logged.
        video: whether there is one.
        features: root of the maps of a foundation model that the teacher learned; None if it learned none.
    """

    size: tuple[int, int]
    frames: Sequence[int] = ()
    lidar_frames: Sequence[int] = ()
    title: str = 'Teacher'
    curves: Curves = field(default_factory=dict)
    video: bool = True
    features: str | None = None


@dataclass(frozen=True)
class Report:
    """The figures.

    Attributes:
        images: scores of the held-out images.
        points: depths at the points of the held-out LiDAR, by keyframe.
        pictures: panels by caption, ``(H, W, 3)`` uint8.
        lacks: what cannot be told, and why.
        similarities: cosines between rendered and true features of the held-out images, by camera.
    """

    images: list[ImageScore]
    points: dict[int, PointDepths]
    pictures: dict[str, np.ndarray]
    lacks: list[str]
    similarities: dict[str, list[float]] = field(default_factory=dict)

    def figures(self, drive: Drive, options: ReportOptions) -> dict[str, Any]:
        """Return all figures as values that JSON can hold; what cannot be told is None."""
        figures = {
            'scene': drive.scene,
            'title': options.title,
            'size': list(options.size),
            'holdout_frames': list(options.frames),
            'holdout_lidar_frames': list(options.lidar_frames),
            'images': image_summary(self.images) if self.images else None,
            'depth': merged(list(self.points.values())).scores() if self.points else None,
            'per_image': [dataclasses.asdict(score) for score in self.images],
            'depth_per_frame': {str(frame): points.scores() for frame, points in self.points.items()},
            'curves': {name: [list(point) for point in curve] for name, curve in options.curves.items()},
            'lacks': self.lacks,
        }
        if self.similarities:
            figures['features'] = feature_summary(self.similarities)
        return _without_nan(figures)


def write_report(folder: Path, teacher: Teacher, drive: Drive, options: ReportOptions) -> dict[str, Any]:
    """Measure a teacher; write ``report.json``, ``flight.mp4`` and ``report.html``, which needs no other file.

    Args:
        folder: where they go.
        teacher: the teacher; parts that need color say so if it has none.
        drive: its drive.
        options: what was kept out of its training.

    Returns:
        what is in the JSON.
    """
    report = measure(teacher, drive, options)
    figures = report.figures(drive, options)
    folder.mkdir(parents=True, exist_ok=True)
    if options.video:
        write_flight(folder / VIDEO, teacher, drive, options.size)
    video = (folder / VIDEO).read_bytes() if options.video else None
    with atomic_path(folder / PAGE) as temporary:
        temporary.write_text(page(figures, report.pictures, video), encoding='utf-8')
    save_json(folder / JSON, figures, indent=1)
    return figures


def measure(teacher: Teacher, drive: Drive, options: ReportOptions) -> Report:
    """Compute the figures of a teacher and draw its pictures."""
    lacks, scores = [], []
    held_out = images_of(drive, options.frames)
    shown = _some(options.frames if held_out else drive.keyframes)
    similarities: dict[str, list[float]] = {}
    pictured: dict[int, list[tuple[DriveImage, TeacherRendering]]] = {frame: [] for frame in shown}
    for image in held_out or images_of(drive, shown):
        rendering = render_image(teacher, image, options.size)
        if held_out and (score := score_image(rendering, image)) is not None:
            scores.append(score)
        truth = _true_features(image, rendering, options)
        if held_out and truth is not None:
            similarities.setdefault(image.camera, []).append(feature_similarity(rendering, truth))
        if image.frame in pictured:
            pictured[image.frame].append((image, rendering))
    if not held_out:
        lacks.append('no images were kept out of the training: no PSNR and no SSIM; the pictures were trained on')
    elif not scores:
        lacks.append('this teacher has no color: no PSNR and no SSIM')
    points = point_depths(teacher, drive, options.lidar_frames, options.size)
    if not points:
        lacks.append('no LiDAR was kept out of the training: no errors of depth')
    lacks += find_lacks(drive, options.frames, options.lidar_frames)
    origin = drive.images[0].timestamp
    pictures = {_caption(views, origin): panel(views, drive) for views in pictured.values()}
    return Report(scores, points, pictures, lacks, similarities)


def _true_features(image: DriveImage, rendering: TeacherRendering, options: ReportOptions) -> np.ndarray | None:
    """Read the map ``(h, w, C)`` of an image, if the teacher has features and there is one."""
    if rendering.features is None or options.features is None or image.features is None:
        return None
    path = Path(options.features) / image.features
    return read_features(path) if path.is_file() else None


def _caption(views: Sequence[tuple[DriveImage, TeacherRendering]], origin: float) -> str:
    image = views[0][0]
    return f'Keyframe {image.frame}, {image.timestamp - origin:.1f} s'


def _some(frames: Iterable[int]) -> list[int]:
    """Choose a few of the keyframes, evenly."""
    known = sorted(set(frames))
    places = np.linspace(0, len(known) - 1, min(len(known), MOST_PICTURES)) if known else []
    return [known[round(float(place))] for place in places]


def panel(views: Sequence[tuple[DriveImage, TeacherRendering]], drive: Drive) -> np.ndarray:
    """Draw the views of a keyframe, a column per camera: what is there, and all that the teacher tells."""
    rows: dict[str, dict[str, np.ndarray]] = {}
    features = [rendering.features for _, rendering in views if rendering.features is not None]
    colors = palette(torch.cat(features)) if any(part.isfinite().all(1).any() for part in features) else None
    for image, rendering in views:
        for label, tile in _tiles(image, rendering).items():
            rows.setdefault(label, {})[image.camera] = tile
        if colors is not None and rendering.features is not None:
            rows.setdefault('features', {})[image.camera] = colors.colors(rendering.features[0].permute(1, 2, 0))
    height, width = views[0][1].depth.shape[-2:]
    columns = [camera for camera in drive.cameras if any(camera in row for row in rows.values())]
    tile_height = max(1, round(TILE_WIDTH * height / width))
    return compose([PanelRow(label, tiles) for label, tiles in rows.items()], columns, tile_height, TILE_WIDTH)


def _tiles(image: DriveImage, rendering: TeacherRendering) -> dict[str, np.ndarray]:
    """Draw all that there is of one view, ``(h, w, 3)`` uint8 by label."""
    truth = image.read(*rendering.depth.shape[-2:])
    sky = rendering.sky[0].numpy()
    tiles = {'image': truth}
    if rendering.image is not None:
        color = color_picture(rendering)
        difference = np.abs(color.astype(np.float32) - truth).mean(-1) / 255
        tiles |= {'rendered': color, 'error': color_shares(difference / LARGEST_ERROR, ERROR_COLORMAP)}
        moving = None if rendering.moving is None else rendering.moving[0].nan_to_num().numpy() > 0.5
        static = ~(sky > 0.5) if moving is None else ~(sky > 0.5) & ~moving
        parts = {'static': static, 'moving': moving, 'sky': sky > 0.5}
        tiles |= {name: _only(color, part) for name, part in parts.items() if part is not None}
    tiles['depth'] = depth_to_colors(rendering.depth[0].float().numpy(), sky > 0.5)
    return tiles


def _only(color: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return the pixels of one part; the others are gray."""
    return np.where(part[..., None], color, np.array(UNKNOWN_COLOR, np.uint8))


def page(figures: Mapping[str, Any], pictures: Mapping[str, np.ndarray], video: bytes | None) -> str:
    """Return the web page of a report; it needs no other file."""
    title = html.escape(f'{figures["title"]}: scene {figures["scene"]}')
    parts = [f'<h1>{title}</h1>', *(f'<p class="lack">{html.escape(lack)}</p>' for lack in figures['lacks'])]
    parts += [
        _images_table(figures['images']),
        _features_table(figures.get('features')),
        _depth_table(figures['depth']),
        _charts(figures),
    ]
    if video is not None:
        data = base64.b64encode(video).decode()
        parts.append('<h2>Flight above the road</h2>')
        parts.append(f'<video controls loop src="data:video/mp4;base64,{data}"></video>')
    for caption, picture in pictures.items():
        parts.append(f'<h2>{html.escape(caption)}</h2><img src="data:image/png;base64,{_png(picture)}">')
    style = (
        'body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}td,th{padding:.2em .8em;'
        'text-align:right;border-bottom:1px solid #ccc}.lack{color:#a00}img,video{max-width:100%}'
    )
    head = f'<meta charset="utf-8"><title>{title}</title><style>{style}</style>'
    return f'<!DOCTYPE html><html><head>{head}</head><body>{"".join(parts)}</body></html>'


def _images_table(images: Mapping[str, Any] | None) -> str:
    if images is None:
        return ''
    rows = [(f'all ({images["count"]} images)', images), *images['cameras'].items()]
    body = [[name, *(_figure(one[key]) for key in ('psnr', 'ssim', 'known'))] for name, one in rows]
    return '<h2>Images that were kept out</h2>' + _table(['', 'PSNR [dB]', 'SSIM', 'known pixels'], body)


def _features_table(features: Mapping[str, Any] | None) -> str:
    if features is None:
        return ''
    rows = [(f'all ({features["count"]} images)', features['cosine']), *features['cameras'].items()]
    return '<h2>Features of images that were kept out</h2>' + _table(
        ['', 'cosine'], [[name, _figure(value)] for name, value in rows]
    )


def _depth_table(depth: Mapping[str, Any] | None) -> str:
    if depth is None:
        return ''
    keys = ('points', 'known', 'median', 'abs_rel', 'rmse', 'a1')
    header = ['', 'points', 'known', 'median error', 'AbsRel', 'RMSE [m]', 'a1']
    names = {'all': 'all points', 'visible': 'points that the camera can see'}
    body = [[names[name], *(_figure(one.get(key)) for key in keys)] for name, one in depth.items()]
    return '<h2>Depth against LiDAR that was kept out</h2>' + _table(header, body)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [''.join(f'<th>{html.escape(cell)}</th>' for cell in header)]
    lines += [''.join(f'<td>{html.escape(cell)}</td>' for cell in row) for row in rows]
    return f'<table>{"".join(f"<tr>{line}</tr>" for line in lines)}</table>'


def _figure(value: float | None) -> str:
    if value is None:
        return ''
    return str(value) if isinstance(value, int) else f'{value:.4g}'


def _charts(figures: Mapping[str, Any]) -> str:
    """Draw the curves: over the time of the drive, and over the steps of the training."""
    charts = []
    if scores := figures['per_image']:
        origin = min(one['timestamp'] for one in scores)
        lines = {
            camera: [(one['timestamp'] - origin, one['psnr']) for one in scores if one['camera'] == camera]
            for camera in dict.fromkeys(one['camera'] for one in scores)
        }
        charts.append(_chart('PSNR over the drive', 'seconds', 'dB', lines))
    if frames := figures['depth_per_frame']:
        lines = {
            name: [(int(frame), one[name]['abs_rel']) for frame, one in frames.items() if 'abs_rel' in one[name]]
            for name in ('all', 'visible')
        }
        charts.append(_chart('AbsRel over the drive', 'keyframe', 'AbsRel', lines))
    charts += [_chart(name, 'step', name, {name: curve}) for name, curve in figures['curves'].items()]
    divisions = [
        chart.to_html(full_html=False, include_plotlyjs=number == 0, default_height=360)
        for number, chart in enumerate(charts)
    ]
    return ''.join(divisions)


def _chart(title: str, x: str, y: str, lines: Mapping[str, Sequence[Sequence[float]]]) -> go.Figure:
    figure = go.Figure(layout={'title': title, 'xaxis_title': x, 'yaxis_title': y})
    for name, points in lines.items():
        columns = [[point[axis] for point in points] for axis in (0, 1)]
        figure.add_trace(go.Scatter(x=columns[0], y=columns[1], name=name, mode='lines+markers'))
    return figure


def _png(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format='PNG')
    return base64.b64encode(buffer.getvalue()).decode()


def _without_nan(value: Any) -> Any:
    """Replace NaN, which JSON has not, by None."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
