"""Write frames of Waymo as the Parquet files of v2, with the columns and types that the official package declares.

These are taken from its source, which is parsed, not imported: it would import TensorFlow.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from projects.DistillNeRF.datasets.converters.waymo.frames import (
    CAMERAS,
    LASERS,
    OBJECT_TYPES,
    SHUTTER_DIRECTIONS,
    CameraImage,
    Frame,
    ImageBox,
)

Row = dict[str, Any]
Tables = dict[str, list[Row]]
_INTRINSICS = ('f_u', 'f_v', 'c_u', 'c_v', 'k1', 'k2', 'p1', 'p2', 'k3')


def write_segment(
    root: Path,
    frames: Sequence[Frame],
    change: Callable[[Tables], None] | None = None,
    rows_per_group: int = 256,
    name: str | None = None,
) -> Path:
    """Write frames as a file in the folder of each component.

    Args:
        root: folder of these folders.
        frames: the frames of one segment.
        change: is given the rows of all components by folder, and may damage them; a folder that it takes out is not
            written.
        rows_per_group: of a row group.
        name: of the files; None takes that of the segment.

    Returns:
        the file of the images.
    """
    tables = tables_of(frames)
    if change is not None:
        change(tables)
    for folder, rows in tables.items():
        schema = schemas()[folder].append(pa.field('index', pa.string()))  # published files have one, too
        path = root / folder / f'{name or frames[0].segment}.parquet'
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(rows, schema)
        pq.write_table(table, path, row_group_size=rows_per_group, compression='brotli', write_page_checksum=True)
    return root / 'camera_image' / f'{name or frames[0].segment}.parquet'


def tables_of(frames: Sequence[Frame]) -> Tables:
    """Return the rows of all components by their folders."""
    first = frames[0]
    segment = {'key.segment_context_name': first.segment}
    tables: Tables = {folder: [] for folder in schemas() if folder in _FOLDERS}
    for name, camera in first.cameras.items():
        matrix = camera.intrinsics
        numbers = [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], *camera.distortion]
        parts = {
            **{f'intrinsic.{part}': value for part, value in zip(_INTRINSICS, numbers, strict=True)},
            'extrinsic.transform': camera.camera2vehicle.ravel(),
            'width': camera.width,
            'height': camera.height,
            'rolling_shutter_direction': SHUTTER_DIRECTIONS.index(camera.shutter_direction),
        }
        key = {**segment, 'key.camera_name': CAMERAS.index(name) + 1}
        tables['camera_calibration'].append(_row('CameraCalibrationComponent', key, parts))
    for name, laser in first.lasers.items():
        low, high = laser.inclination_range
        parts = {'extrinsic.transform': laser.laser2vehicle.ravel(), 'beam_inclination.min': low}
        parts |= {'beam_inclination.max': high, 'beam_inclination.values': laser.inclinations}
        key = {**segment, 'key.laser_name': LASERS.index(name) + 1}
        tables['lidar_calibration'].append(_row('LiDARCalibrationComponent', key, parts))
    for frame in frames:
        _add_frame(tables, frame, {**segment, 'key.frame_timestamp_micros': round(frame.timestamp * 1e6)})
    return tables


_FOLDERS = (
    *('camera_box', 'camera_calibration', 'camera_image', 'camera_segmentation', 'lidar', 'lidar_box'),
    *('lidar_calibration', 'lidar_camera_projection', 'lidar_pose', 'projected_lidar_box', 'stats', 'vehicle_pose'),
)


def _row(title: str, key: Row, parts: Row) -> Row:
    return {**key, **{f'[{title}].{name}': value for name, value in parts.items()}}


def _add_frame(tables: Tables, frame: Frame, key: Row) -> None:
    pose = {'world_from_vehicle.transform': frame.vehicle2global.ravel()}
    tables['vehicle_pose'].append(_row('VehiclePoseComponent', key, pose))
    tables['stats'].append(_row('StatsComponent', key, dict(frame.attributes)))
    for name, image in frame.images.items():
        _add_image(tables, name, image, {**key, 'key.camera_name': CAMERAS.index(name) + 1})
    for name, measured in frame.returns.items():
        own = {**key, 'key.laser_name': LASERS.index(name) + 1}
        arrays = {f'range_image_return{number}': image for number, image in enumerate(measured.range_images, 1)}
        tables['lidar'].append(_row('LiDARComponent', own, _flat(arrays)))
        if measured.pixel_poses is not None:
            poses = _flat({'range_image_return1': measured.pixel_poses})
            tables['lidar_pose'].append(_row('LiDARPoseComponent', own, poses))
        if measured.camera_projections is not None:
            projections = _flat({'range_image_return1': measured.camera_projections.astype(np.float32)})
            tables['lidar_camera_projection'].append(_row('LiDARCameraProjectionComponent', own, projections))
    for box in frame.boxes:
        parts = {f'box.center.{axis}': value for axis, value in zip('xyz', box.center, strict=True)}
        parts |= {f'box.size.{axis}': value for axis, value in zip('xyz', box.size, strict=True)}
        parts |= {'box.heading': box.heading, 'type': OBJECT_TYPES.index(box.type)}
        parts['num_lidar_points_in_box'] = box.points
        if box.velocity is not None:
            parts |= {'speed.x': box.velocity[0], 'speed.y': box.velocity[1], 'speed.z': 0.0}
        tables['lidar_box'].append(_row('LiDARBoxComponent', {**key, 'key.laser_object_id': box.token}, parts))


def _flat(arrays: dict[str, np.ndarray]) -> Row:
    return {f'{name}.values': array.ravel() for name, array in arrays.items()} | {
        f'{name}.shape': array.shape for name, array in arrays.items()
    }


def _add_image(tables: Tables, name: str, image: CameraImage, key: Row) -> None:
    parts: Row = {'image': image.jpeg, 'pose.transform': image.vehicle2global.ravel()}
    parts['pose_timestamp'] = image.timestamp
    # What v1 lacks is 0 in v2.
    moves = np.zeros(6) if image.velocity is None else image.velocity
    for number, kind in enumerate(('linear', 'angular')):
        own = zip('xyz', moves[3 * number : 3 * number + 3], strict=True)
        parts |= {f'velocity.{kind}_velocity.{axis}': value for axis, value in own}
    shutter = image.shutter
    times = (shutter.exposure, shutter.trigger_time, shutter.readout_done_time) if shutter else (0.0, 0.0, 0.0)
    for part, value in zip(('shutter', 'camera_trigger_time', 'camera_readout_done_time'), times, strict=True):
        parts[f'rolling_shutter_params.{part}'] = value
    tables['camera_image'].append(_row('CameraImageComponent', key, parts))
    if image.panoptic is not None:
        ids = image.panoptic.global_ids
        parts = {'panoptic_label': image.panoptic.png, 'panoptic_label_divisor': image.panoptic.divisor}
        parts |= {'sequence_id': image.panoptic.sequence, 'num_cameras_covered': b''}
        lists = {'local_instance_ids': list(ids), 'global_instance_ids': list(ids.values())}
        lists['is_tracked'] = [True] * len(ids)
        parts |= {f'instance_id_to_global_id_mapping.{part}': values for part, values in lists.items()}
        tables['camera_segmentation'].append(_row('CameraSegmentationLabelComponent', key, parts))
    for box in image.boxes:
        own = {**key, 'key.camera_object_id': box.token}
        tables['camera_box'].append(_row('CameraBoxComponent', own, _image_box(box)))
    for box in image.projected_boxes:
        own = {**key, 'key.laser_object_id': box.token.removesuffix(f'_{name}')}
        tables['projected_lidar_box'].append(_row('ProjectedLiDARBoxComponent', own, _image_box(box)))


def _image_box(box: ImageBox) -> Row:
    parts = zip(('center.x', 'center.y', 'size.x', 'size.y'), (*box.center, *box.size), strict=True)
    return {**{f'box.{name}': value for name, value in parts}, 'type': OBJECT_TYPES.index(box.type)}


# ---- columns and types of the official package


@lru_cache
def schemas() -> dict[str, pa.Schema]:
    """Return the columns of each component by its folder, as the source of the official package declares them."""
    spec = find_spec('waymo_open_dataset')
    assert spec is not None and spec.submodule_search_locations
    root = Path(next(iter(spec.submodule_search_locations))) / 'v2'
    files = [root / 'column_types.py', *sorted((root / 'perception').glob('*.py'))]
    classes: dict[str, ast.ClassDef] = {}
    for path in files:
        classes |= {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)}
    found = {}
    for node in ast.parse((root / '__init__.py').read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == 'TAG_BY_COMPONENT':
            assert isinstance(node.value, ast.Dict)
            for title, folder in zip(node.value.keys, node.value.values, strict=True):
                name = title.id
                columns = list(_columns(classes, name, ''))
                found[ast.literal_eval(folder)] = pa.schema(
                    (column if column.startswith('key.') else f'[{name}].{column}', kind) for column, kind in columns
                )
    return found


def _columns(classes: dict[str, ast.ClassDef], name: str, prefix: str) -> Iterator[tuple[str, pa.DataType]]:
    """Yield names and types of the fields of a class, and of the classes of its fields."""
    for field, (annotation, value) in _fields(classes, name).items():
        inner = annotation.slice if isinstance(annotation, ast.Subscript) else annotation
        of = ast.unparse(inner).rpartition('.')[2]
        if of in classes:
            yield from _columns(classes, of, f'{prefix}{field}.')
        else:
            (kind,) = (word.value for word in value.keywords if word.arg == 'arrow_type')
            yield f'{prefix}{field}', eval(ast.unparse(kind), {'pa': pa})  # such as pa.list_(pa.float32())


def _fields(classes: dict[str, ast.ClassDef], name: str) -> dict[str, tuple[ast.expr, Any]]:
    """Return annotation and value of the fields of a dataclass, its bases' first."""
    fields: dict[str, tuple[ast.expr, Any]] = {}
    if name in classes:
        for base in reversed(classes[name].bases):
            fields |= _fields(classes, ast.unparse(base).rpartition('.')[2])
        for node in classes[name].body:
            if isinstance(node, ast.AnnAssign):
                fields[node.target.id] = (node.annotation, node.value)
    return fields
