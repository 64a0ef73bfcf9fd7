"""mmdet3d's v2 info pickle of nuScenes to infos; the tables are not needed.

What our format knows is converted and checked; other fields (``cam_instances``, image sweeps, radar) are left out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...geometry.boxes import check_boxes
from ...geometry.poses import check_poses, inverse_pose
from ...utils.errors import InputError
from ..info_arrays import COLUMNS, is_finite, is_name, is_whole
from ..infos import Info, read_pickle, save_infos
from .common import (
    SINCE_1970,
    TIME_UNITS,
    camera_record,
    check_images,
    choose_cameras,
    image_size,
    link_frames,
    number_samples,
    same_cameras,
    sweep_record,
    units_per_second,
)
from .nuscenes import check_sweep_count
from .nuscenes_rig import COLUMNS_PER_POINT, LIDAR
from .scene_files import FileFinder, check_first_points, complete_scenes, drop_missing_sweeps, plain_path

HINT = "give an info pickle of mmdet3d's v2 format (metainfo and data_list)"
# Keyframes of nuScenes are 0.5 s apart; a longer pause is another scene.
MAX_GAP = 1.0
# Seconds between what is measured and its keyframe: only to tell the unit of its time.
NEAR = 100.0
# Meters and entries of the rotation by which ``lidar2sensor`` of a sweep may differ from what its poses say.
SWEEP_AGREEMENT = (0.1, 5e-3)


def from_mmdet3d_info(
    pickle_path: Path,
    root: Path,
    out_dir: Path,
    tag: str = 'nuscenes',
    cameras: Sequence[str] | None = None,
    sweeps: int = 10,
    skip_incomplete: bool = False,
) -> Path:
    """Write ``{tag}_infos_{split}.pkl`` from an info pickle of mmdet3d.

    Scenes are told apart by log (the start of the LiDAR file name) and by pauses of more than a second, since the v2
    format names no scenes. Files are looked for as named below ``root`` and in ``samples`` and ``sweeps``.

    Args:
        pickle_path: the pickle; its name tells the split (train, val, test, else all).
        root: data root that the files are relative to.
        out_dir: where the info file goes.
        cameras: names of the cameras to convert; None takes all that are there.
        sweeps: how many LiDAR sweeps of each keyframe to list.
        skip_incomplete: leave out scenes of which files are missing.

    Returns:
        the info file.
    """
    check_sweep_count(sweeps)
    content = _read(pickle_path)
    split = next((name for name in ('train', 'val', 'test') if name in pickle_path.stem), 'all')
    target = out_dir / f'{tag}_infos_{split}.pkl'
    if target.resolve() == pickle_path.resolve():
        raise InputError(f'{target}: would overwrite the pickle it is made from; give --out-dir or --extra-tag')
    records = [_Record(record, index, pickle_path) for index, record in enumerate(content['data_list'])]
    names = list(dict.fromkeys(name for record in records for name in record.images))
    chosen = choose_cameras(names, cameras, pickle_path)
    unit = _set_times(records, pickle_path)
    _name_scenes(records)
    kept = _with_files(records, chosen, root, skip_incomplete)
    finder = FileFinder(root)
    infos = [_convert(record, root, finder, unit, sweeps) for record in kept]
    link_frames(infos)
    number_samples(infos)
    ring = same_cameras(infos, pickle_path)
    drop_missing_sweeps(infos, root)
    check_first_points(infos, root)
    check_images(root, infos, target)
    save_infos(target, 'nuscenes', ring, infos, pickle_path, split=split, categories=_categories(content, pickle_path))
    return target


def _categories(content: dict[str, Any], path: Path) -> dict[str, int]:
    """Return the categories of the metainfo, apart from those that mmdet3d does not train on (label -1)."""
    metainfo = content.get('metainfo') if isinstance(content.get('metainfo'), dict) else {}
    named = _dict(metainfo.get('categories', {}), f'{path}: categories of metainfo')
    if bad := [name for name, label in named.items() if not isinstance(label, int) or isinstance(label, bool)]:
        raise InputError(f'{path}: category {bad[0]} of metainfo is {named[bad[0]]!r}, no whole number; {HINT}')
    return {name: label for name, label in named.items() if label >= 0}


def _read(path: Path) -> dict[str, Any]:
    """Read the pickle; raise :class:`InputError` if it is not of the v2 format."""
    content = read_pickle(path, HINT)
    if isinstance(content, dict) and content.get('infos') and 'data_list' not in content:
        raise InputError(
            f"{path}: is in mmdet3d's old v1 format (infos and metadata); bring it to v2 with mmdet3d's "
            'tools/dataset_converters/update_infos_to_v2.py, or convert the tables, without --from-info'
        )
    if not isinstance(content, dict) or not isinstance(content.get('data_list'), list) or not content['data_list']:
        raise InputError(f'{path}: holds no data_list; {HINT}')
    return content


class _Record:
    """One entry of ``data_list``.

    Attributes:
        label: file and sample, for messages.
        fields: the entry itself.
        lidar: its record of the LiDAR.
        images: its records of images that name a file, by camera.
        token: its name.
        time: time of the keyframe in seconds; set once the unit is known.
        scene, frame: name of the scene, and number of the frame in it; set once scenes are told apart.
        files: paths of the images, by camera, and of the LiDAR, relative to the root; set once they are found.
    """

    def __init__(self, fields: Any, index: int, path: Path) -> None:
        name = fields.get('token', index) if isinstance(fields, dict) else index
        self.label = f'{path}: sample {name}'
        self.fields = _dict(fields, self.label)
        self.lidar = _dict(self.get('lidar_points'), f'{self.label}: lidar_points')
        self.images = {
            camera: image
            for camera, image in _dict(self.get('images'), f'{self.label}: images').items()
            if isinstance(image, dict) and 'img_path' in image
        }
        self.token = str(self.get('token'))
        self.time = 0.0
        self.scene, self.frame = '', 0
        self.files: dict[str, str] = {}

    def get(self, field: str) -> Any:
        """Return a field; raise :class:`InputError` if it is missing."""
        return _get(self.fields, field, self.label)

    @property
    def log(self) -> str:
        """Return the start of the LiDAR file name, in nuScenes the log; empty where files are named otherwise."""
        log, separator, _ = plain_path(_path(self.lidar, 'lidar_path', self.label)).rpartition('/')[2].partition('__')
        return log if separator else ''


def _get(record: dict[str, Any], field: str, label: str) -> Any:
    if field not in record:
        raise InputError(f'{label}: lacks {field!r}; {HINT}')
    return record[field]


def _dict(value: Any, label: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f'{label} is no record ({str(value)[:40]!r}); {HINT}')
    return value


def _path(record: dict[str, Any], field: str, label: str) -> str:
    value = _get(record, field, label)
    if not is_name(value):
        raise InputError(f'{label}: {field} is {value!r}, not the name of a file; {HINT}')
    return value


def _number(record: dict[str, Any], field: str, label: str) -> float:
    value = _get(record, field, label)
    if not is_finite(value):
        raise InputError(f'{label}: {field} is {value!r}, not a finite number; {HINT}')
    return float(value)


def _set_times(records: Sequence[_Record], path: Path) -> float:
    """Set the time of every keyframe; return how many units make a second."""
    raw = [_number(record.fields, 'timestamp', record.label) for record in records]
    in_order = sorted(zip((record.log for record in records), raw, strict=True))
    pairs = itertools.pairwise(in_order)
    steps = [time - before for (log, before), (other, time) in pairs if log == other]
    unit = units_per_second(raw, [step for step in steps if step > 0], 'seconds', path)
    for record, time in zip(records, raw, strict=True):
        record.time = time / unit
    return unit


def _seconds(record: dict[str, Any], keyframe: _Record, unit: float, label: str) -> float:
    """Return the time of an image or sweep in seconds.

    Times since 1970 show their unit, which may be another than that of the keyframes; other times have that one.
    """
    raw = _number(record, 'timestamp', label)
    if keyframe.time < SINCE_1970[0]:
        return raw / unit
    near = [count for count in (unit, *TIME_UNITS.values()) if abs(raw / count - keyframe.time) < NEAR]
    return raw / (near[0] if near else unit)


def _name_scenes(records: list[_Record]) -> None:
    """Group records to scenes and number their frames; sort by scene, as in the file, then by time."""
    previous: _Record | None = None
    for record in sorted(records, key=lambda record: (record.log, record.time)):
        same_scene = previous is not None and previous.log == record.log and record.time - previous.time < MAX_GAP
        record.scene = previous.scene if same_scene else f'{record.log or "scene"}@{record.time:.0f}'
        record.frame = previous.frame + 1 if same_scene else 0
        previous = record
    first = {record.scene: index for index, record in reversed(list(enumerate(records)))}
    records.sort(key=lambda record: (first[record.scene], record.frame))


def _with_files(records: Sequence[_Record], cameras: Sequence[str], root: Path, skip_incomplete: bool) -> list[_Record]:
    """Find the images and the LiDAR of every record; return the records of complete scenes."""
    finder, files = FileFinder(root), {}
    for record in records:
        record.images = {camera: image for camera, image in record.images.items() if camera in cameras}
        names = {camera: _path(image, 'img_path', record.label) for camera, image in record.images.items()}
        names[LIDAR] = _path(record.lidar, 'lidar_path', record.label)
        record.files = {sensor: finder.find(name, sensor) or plain_path(name) for sensor, name in names.items()}
        files.setdefault(record.scene, []).extend(record.files.values())
    whole = set(complete_scenes(files, root, skip_incomplete))
    return [record for record in records if record.scene in whole]


def _convert(record: _Record, root: Path, finder: FileFinder, unit: float, sweeps: int) -> Info:
    """Make the info of a record; ``unit`` is how many units of its times make a second."""
    label, lidar = record.label, record.lidar
    ego2global = _pose(record.fields, 'ego2global', label)
    lidar2ego = _pose(lidar, 'lidar2ego', label)
    lidar2global = ego2global @ lidar2ego
    columns = _columns(lidar, label)
    return {
        'token': record.token,
        'scene': record.scene,
        'frame': record.frame,
        'timestamp': record.time,
        'ego2global': ego2global.tolist(),
        'lidar2global': lidar2global.tolist(),
        'images': {camera: _image(record, camera, root, lidar2global, unit) for camera in record.images},
        'lidar_points': {
            'lidar_path': record.files[LIDAR],
            'num_pts_feats': columns,
            'lidar2ego': lidar2ego.tolist(),
        },
        'lidar_sweeps': _sweeps(record, finder, lidar2global, columns, unit, sweeps),
        'instances': [_instance(box, label) for box in _listed(record, 'instances')],
    }


def _listed(record: _Record, field: str) -> list[Any]:
    """Return a list that may be absent."""
    value = record.fields.get(field)
    if value is not None and not isinstance(value, list):
        raise InputError(f'{record.label}: {field} is no list ({str(value)[:40]!r}); correct it in the pickle')
    return value or []


def _image(record: _Record, camera: str, root: Path, lidar2global: np.ndarray, unit: float) -> Info:
    image, label = record.images[camera], f'{record.label}, {camera}'
    # lidar2cam goes through both ego poses, so it carries the pose of the vehicle at the time of the image.
    cam2global = lidar2global @ inverse_pose(_pose(image, 'lidar2cam', label))
    ego_at_image = cam2global @ inverse_pose(_pose(image, 'cam2ego', label))
    return {
        **camera_record(
            camera,
            record.files[camera],
            image_size(root / record.files[camera]),
            _intrinsics(image, label),
            cam2global,
            lidar2global,
            ego_at_image,
            _seconds(image, record, unit, label),
        ),
        'sample_data_token': image.get('sample_data_token'),
    }


def _intrinsics(image: dict[str, Any], label: str) -> np.ndarray:
    """Return the pinhole matrix ``(3, 3)``, which may be stored with a fourth row and column."""
    matrix = _matrix(image, 'cam2img', label)
    if matrix.shape not in ((3, 3), (3, 4), (4, 4)):
        what = 'empty' if not matrix.size else f'of shape {matrix.shape}'
        raise InputError(f'{label}: cam2img is {what}, not (3, 3), (3, 4) or (4, 4); correct it in the pickle')
    return matrix[:3, :3]


def _matrix(record: dict[str, Any], field: str, label: str) -> np.ndarray:
    try:
        return np.asarray(_get(record, field, label), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f'{label}: {field} is no matrix of numbers; correct it in the pickle') from error


def _pose(record: dict[str, Any], field: str, label: str) -> np.ndarray:
    """Return a pose ``(4, 4)``, made orthonormal: rounding of the stored float32 would add up along the chain."""
    pose = _matrix(record, field, label)
    if pose.shape != (4, 4):
        raise InputError(f'{label}: {field} is {pose.shape}, not (4, 4); correct it in the pickle')
    check_poses(pose[None], [f'{label}: {field}'], 'correct it in the pickle')
    left, _, right = np.linalg.svd(pose[:3, :3])
    pose[:3, :3] = left @ right
    return pose


def _columns(lidar: dict[str, Any], label: str) -> int:
    """Return the number of floats per point, which mmdet3d leaves out for sweeps."""
    columns = lidar.get('num_pts_feats')
    if columns is None:
        return COLUMNS_PER_POINT
    if not COLUMNS.fits(columns):
        raise InputError(f'{label}: num_pts_feats is {columns!r}, not 3 or more; correct it in the pickle')
    return int(columns)


def _sweeps(
    record: _Record, finder: FileFinder, lidar2global: np.ndarray, columns: int, unit: float, count: int
) -> list[Info]:
    """Make the records of the ``count`` sweeps nearest in time, with the pose of the vehicle at their own time."""
    sweeps = []
    for number, sweep in enumerate(_listed(record, 'lidar_sweeps') if count else []):
        label = f'{record.label}, sweep {number}'
        points = _dict(_get(_dict(sweep, label), 'lidar_points', label), f'{label}: lidar_points')
        ego2global, lidar2ego = _pose(sweep, 'ego2global', label), _pose(points, 'lidar2ego', label)
        sweep2global = ego2global @ lidar2ego
        lidar2sensor = inverse_pose(sweep2global) @ lidar2global
        if 'lidar2sensor' in points:
            off = np.abs(_pose(points, 'lidar2sensor', label) - lidar2sensor)
            if off[:3, 3].max() > SWEEP_AGREEMENT[0] or off[:3, :3].max() > SWEEP_AGREEMENT[1]:
                raise InputError(
                    f'{label}: lidar2sensor and the poses of the vehicle differ by {off[:3, 3].max():.3g} m; '
                    'correct them in the pickle, or leave sweeps out with --sweeps 0'
                )
        path = _path(points, 'lidar_path', label)
        measurement = {
            'timestamp': _seconds(sweep, record, unit, label),
            'ego2global': ego2global.tolist(),
            'lidar2global': sweep2global.tolist(),
            'lidar_points': {
                'lidar_path': finder.find(path, LIDAR) or plain_path(path),
                'num_pts_feats': columns if points.get('num_pts_feats') is None else _columns(points, label),
                'lidar2ego': lidar2ego.tolist(),
            },
        }
        token = sweep.get('sample_data_token')
        sweeps.append({'sample_data_token': token, **sweep_record(measurement, lidar2sensor)})
    return sorted(sweeps, key=lambda sweep: abs(sweep['timestamp'] - record.time))[:count]


def _instance(box: Any, label: str) -> Info:
    """Make the record of a box; center, sizes and yaw of mmdet3d mean the same as ours."""
    box = _dict(box, f'{label}: an instance')
    values = _matrix(box, 'bbox_3d', label)
    if values.shape != (7,):
        raise InputError(f'{label}: bbox_3d is {box["bbox_3d"]}, not seven numbers; correct it in the pickle')
    check_boxes(values[None], [label], 'correct it in the pickle')
    chosen = _label(box, 'bbox_label', _label(box, 'bbox_label_3d', -1, label), label)
    velocity = _matrix({'velocity': box.get('velocity', (math.nan, math.nan))}, 'velocity', label)
    if velocity.shape not in ((2,), (3,)):
        raise InputError(f'{label}: velocity is {box["velocity"]}, not two numbers; correct it in the pickle')
    record = {
        'bbox_3d': values.tolist(),
        'bbox_label': chosen,
        'bbox_label_3d': _label(box, 'bbox_label_3d', chosen, label),
        # NaN is nuScenes' way to say that it is unknown.
        'velocity': velocity[:2].tolist(),
    }
    counts = {key: _label(box, key, 0, label) for key in ('num_lidar_pts', 'num_radar_pts') if key in box}
    valid = {'bbox_3d_isvalid': bool(box['bbox_3d_isvalid'])} if 'bbox_3d_isvalid' in box else {}
    return record | counts | valid


def _label(box: dict[str, Any], field: str, default: int, label: str) -> int:
    """Return a whole number of a box, or a default if it is absent."""
    value = box.get(field, default)
    if not is_whole(value):
        raise InputError(f'{label}: {field} of an instance is {value!r}, not a whole number; correct it in the pickle')
    return int(value)
