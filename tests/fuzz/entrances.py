"""Where input comes in: a valid small one for each, the command that reads it, and what it must make of it."""

from __future__ import annotations

import contextlib
import io
import pickle
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from mmengine.config import Config

from projects.DistillNeRF.datasets.converters import nuscenes
from projects.DistillNeRF.datasets.custom_rig import read_folder, write_folder
from projects.DistillNeRF.datasets.infos import load_infos, save_infos
from projects.DistillNeRF.engine.create_cache import create_cache
from projects.DistillNeRF.models import conversion
from projects.DistillNeRF.models.conversion import published_name, published_settings
from projects.DistillNeRF.models.network import DistillNeRF
from projects.DistillNeRF.scene_nerf.drive import DriveImage
from tests.fuzz import documents
from tests.helpers.boxworld import CAMERAS as BOX_CAMERAS
from tests.helpers.boxworld import BoxWorld, save
from tests.helpers.commands import IMAGE_SIZE, load_tool, write_config
from tests.helpers.dataset import ALL_MAPS, PIPELINE, build_dataset
from tests.helpers.rawdata import pandaset_world, write_nuscenes, write_pandaset
from tests.helpers.waymo_world import WaymoWorld
from verification.reference.waymo_records import file_name, write_segment

SIZE = (32, 64)
SIZES = {'image_size': SIZE, 'render_size': (SIZE[0] // 2, SIZE[1] // 2)}
LIDAR_SWEEPS = 3
# Microseconds: small times are small in every unit.
SINCE_1970 = 1_532_402_927_000_000
BEFORE = b'what stood here before'


class Entrance(ABC):
    """One kind of input.

    Attributes:
        name: in words.
        outputs: files that the command writes and that stood there before.
        caches: beginnings of the names of what it may keep although it was refused in the end.
    """

    name: str
    outputs: tuple[str, ...] = ()
    caches: tuple[str, ...] = ()
    # Only these files are damaged; None for all.
    only: str | None = None

    @abstractmethod
    def build(self, root: Path) -> None:
        """Write the valid input to ``root``, an empty folder."""

    def convert(self, root: Path, out: Path) -> None:
        """Run the command that reads ``root`` and writes to ``out``, if there is one."""
        del root, out

    @abstractmethod
    def load(self, root: Path, out: Path) -> dict[str, Any]:
        """Read what the command made of it; returns everything that must stay what it is."""

    def read(self, root: Path) -> dict[str, Any]:
        """Contents of all files that can be damaged, by their names."""
        names = sorted(str(path.relative_to(root)) for path in root.rglob('*') if path.is_file())
        return {name: documents.read(root / name) for name in names if self.only is None or name == self.only}


def create_data(*arguments: object) -> None:
    """``tools/create_data.py``; what it raises and exits with comes through, and its stderr goes where it goes."""
    load_tool('create_data').main.__wrapped__([str(argument) for argument in arguments])


def samples(path: Path, prefix: dict[str, str] | None = None, **options: Any) -> dict[str, Any]:
    """Everything that training gets from an info file and the files it names."""
    metainfo, infos = load_infos(path)
    options = {'ann_file': path.name, 'data_prefix': prefix, 'lidar_sweeps': LIDAR_SWEEPS, **SIZES, **options}
    dataset = build_dataset(path.parent, **options)
    position = {info['token']: index for index, info in enumerate(infos)} | {None: None}
    result: dict[str, Any] = {'cameras': list(metainfo['cameras']), 'samples': len(dataset)}
    for index in range(len(dataset)):
        info, sample = infos[index], dataset[index]
        views = sample['inputs']['input_views']
        result[f'sample {index}'] = {
            **{key: info[key] for key in ('scene', 'frame', 'timestamp', 'ego2global', 'lidar2global')},
            'links': [position[info[link]] for link in ('prev', 'next')],
            **boxes_of(info),
            'views': views.names,
            'intrinsics': views.cameras.intrinsics,
            'cam2world': views.cameras.cam2world,
            'images': views.images,
            'times': [info['images'][camera]['timestamp'] for camera in metainfo['cameras']],
            'lidar': views.lidar_depth,
            'teacher': views.teacher_depth,
            'sky': views.sky_mask,
            'truth': views.true_depth,
            'features': views.features,
            'sweeps': len(info.get('lidar_sweeps', [])),
        }
    return result


def boxes_of(info: dict[str, Any]) -> dict[str, Any]:
    """Boxes of a record and what they are, in an order that does not depend on that of the file."""
    found = sorted(info.get('instances', []), key=lambda box: [round(value, 2) for value in box['bbox_3d']])
    return {
        'boxes': [[*box['bbox_3d'], *box.get('velocity', [])] for box in found],
        'names': [box.get('bbox_label', box.get('label')) for box in found],
    }


class NuScenesTables(Entrance):
    """Tables, images and points of two scenes."""

    name = 'nuscenes'
    outputs = ('nuscenes_infos_train.pkl', 'nuscenes_infos_val.pkl')

    def build(self, root: Path) -> None:
        write_nuscenes(BoxWorld(size=SIZE, frames=2), root, {'train': ['scene-a'], 'val': ['scene-b']})
        for table in ('sample', 'sample_data', 'ego_pose'):
            path = root / f'v1.0-mini/{table}.json'
            records = documents.read(path)
            documents.write(path, [record | {'timestamp': record['timestamp'] + SINCE_1970} for record in records])

    def convert(self, root: Path, out: Path) -> None:
        create_data('nuscenes', '--root-path', root, '--out-dir', out, '--version', 'v1.0-mini')

    def load(self, root: Path, out: Path) -> dict[str, Any]:
        return {name: samples(out / name, {'img': str(root), 'lidar': str(root)}) for name in self.outputs}


class Splits(NuScenesTables):
    """Which scenes are in which split."""

    name = 'splits'
    only = 'splits.json'


class Mmdet3dPickle(Entrance):
    """What mmdet3d's own converter writes."""

    name = 'mmdet3d'
    outputs = ('nuscenes_infos_train.pkl',)
    only = 'mmdet3d_train.pkl'

    def build(self, root: Path) -> None:
        write_nuscenes(BoxWorld(size=SIZE, frames=3), root, {'train': ['scene-a']})
        [path] = nuscenes.convert(root, root, version='v1.0-mini')
        _, infos = load_infos(path)
        path.unlink()
        fields = (
            'sample_idx',
            'token',
            'timestamp',
            'ego2global',
            'images',
            'lidar_points',
            'lidar_sweeps',
            'instances',
        )
        plain = [{field: info[field] for field in fields} for info in infos]
        for info in plain:
            info['ego2global'] = np.float32(info['ego2global']).tolist()
            info['lidar_points']['lidar_path'] = Path(info['lidar_points']['lidar_path']).name
            for sweep in info['lidar_sweeps']:
                del sweep['lidar2global'], sweep['lidar_points']['num_pts_feats']
            for image in info['images'].values():
                image['img_path'] = Path(image['img_path']).name
                for key in ('cam2global', 'height', 'width', 'teacher', 'features'):
                    del image[key]
        metainfo = {'info_version': '1.1', 'dataset': 'nuscenes', 'categories': {'car': 0}}
        (root / self.only).write_bytes(pickle.dumps({'metainfo': metainfo, 'data_list': plain}))

    def convert(self, root: Path, out: Path) -> None:
        create_data('nuscenes', '--root-path', root, '--out-dir', out, '--from-info', root / self.only)

    def load(self, root: Path, out: Path) -> dict[str, Any]:
        return samples(out / self.outputs[0], {'img': str(root), 'lidar': str(root)})


class PandaSet(Entrance):
    """One sequence in its published layout."""

    name = 'pandaset'
    outputs = ('pandaset_infos_train.pkl', 'pandaset_infos_val.pkl')
    caches = ('lidar/',)

    def build(self, root: Path) -> None:
        write_pandaset(pandaset_world(size=SIZE, frames=4, lidar_frames=(0, 2)), root)

    def convert(self, root: Path, out: Path) -> None:
        frames = ('--train-frames', '0-1', '--val-frames', '2-3', '--step', '1')
        create_data('pandaset', '--root-path', root, '--out-dir', out, *frames)

    def load(self, root: Path, out: Path) -> dict[str, Any]:
        result = {}
        for name in self.outputs:
            result[name] = samples(out / name, {'img': str(root)})
            classes = {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob('*.classes.bin'))}
            result[f'classes of {name}'] = classes
        return result


class WaymoRecords(Entrance):
    """One segment of Waymo as TFRecords: three frames of five cameras and five lasers."""

    name = 'waymo'
    outputs = ('waymo_infos_train.pkl', 'waymo_infos_val.pkl')
    caches = ('kitti_format/',)

    def build(self, root: Path) -> None:
        world = WaymoWorld(rows=8, columns=16, height=SIZE[0], width=SIZE[1])
        write_segment(root / file_name(world.name), [world.frame(number) for number in range(3)])

    def convert(self, root: Path, out: Path) -> None:
        create_data('waymo', '--root-path', root, '--out-dir', out)

    def load(self, root: Path, out: Path) -> dict[str, Any]:
        # Both splits are the same segment.
        return samples(out / self.outputs[0], lidar_sweeps=1)


class InfoFile(Entrance):
    """An info file with everything that it names."""

    name = 'loader'

    def build(self, root: Path) -> None:
        world = BoxWorld(size=SIZE, frames=2, lidar_frames=(0, 1))
        metainfo, infos = load_infos(world.write(root))
        infos[1]['image_sweeps'] = {camera: [self._between(world, root, camera, infos[1])] for camera in BOX_CAMERAS}
        categories = metainfo['categories']
        save_infos(root / 'infos.pkl', 'boxworld', BOX_CAMERAS, infos, categories=categories)
        for path in root.glob('samples_*'):
            if path.name != 'samples_0_0_0_0_0_0':
                shutil.rmtree(path)

    @staticmethod
    def _between(world: BoxWorld, root: Path, camera: str, info: dict[str, Any]) -> dict[str, Any]:
        """Write the image of a camera in the middle between two keyframes; return its record."""
        own = info['images'][camera]
        cam2global = world.ego2global(own['timestamp'] / 0.5 - 0.5) @ np.asarray(own['cam2ego'])
        path = f'sweeps/{camera}/between.png'
        save(root / path, world.view(cam2global)[0])
        same = {key: own[key] for key in ('height', 'width', 'cam2img', 'cam2ego')}
        more = {'img_path': path, 'timestamp': own['timestamp'] - 0.25, 'cam2global': cam2global.tolist()}
        return {**same, **more}

    def load(self, root: Path, out: Path) -> dict[str, Any]:
        loaded = samples(root / 'infos.pkl', load_boxes=True, **ALL_MAPS)
        between = []
        for info in load_infos(root / 'infos.pkl')[1]:
            for camera, images in info.get('image_sweeps', {}).items():
                between += [self._read(root, camera, image) for image in images]
        return {**loaded, 'between': between}

    @staticmethod
    def _read(root: Path, camera: str, record: dict[str, Any]) -> dict[str, Any]:
        """Read an image between keyframes as teachers do."""
        calibration = {'intrinsics': np.asarray(record['cam2img']), 'cam2scene': np.asarray(record['cam2global'])}
        size = {key: record[key] for key in ('height', 'width', 'timestamp')}
        path = str(root / record['img_path'])
        image = DriveImage(path=path, camera=camera, frame=None, teacher={}, truth={}, **size, **calibration)
        return {'image': image.read(*SIZE), 'time': image.timestamp, **calibration}


class Cache(Entrance):
    """Cached images and LiDAR depth images, and the files that these were made from."""

    name = 'cache'

    def build(self, root: Path) -> None:
        BoxWorld(size=SIZE, frames=2, lidar_frames=(0, 1)).write(root)
        for path in root.glob('samples_*'):
            shutil.rmtree(path)
        dataset = {
            'type': 'DistillNeRFDataset',
            'ann_file': 'infos.pkl',
            'data_root': str(root),
            'pipeline': list(PIPELINE),
            'lidar_sweeps': LIDAR_SWEEPS,
            **SIZES,
        }
        with contextlib.redirect_stderr(io.StringIO()):
            create_cache(Config({'train_dataloader': {'dataset': dataset}}))

    def load(self, root: Path, out: Path) -> dict[str, Any]:
        return samples(root / 'infos.pkl', cache='cache')

    def read(self, root: Path) -> dict[str, Any]:
        """Only what the cache consists of and is made from: all else is damaged by other entrances."""
        kinds = ('.cache', '.png', '.bin')
        return {name: content for name, content in super().read(root).items() if name.endswith(kinds)}


class OwnImages(Entrance):
    """A folder of images and ``cameras.json``, with a random tiny network."""

    name = 'own images'
    outputs = ('panel_000.png', 'scene.pt')

    def __init__(self, folder: Path) -> None:
        self._config = write_config(folder / 'tiny.py', folder).config

    def build(self, root: Path) -> None:
        world = BoxWorld(size=SIZE, frames=2)
        world.write(root / 'data')
        views = build_dataset(root / 'data', **SIZES)[1]['inputs']['input_views']
        write_folder(views[:3], root)
        shutil.rmtree(root / 'data')
        content = documents.read(root / 'cameras.json')
        for camera in content['cameras'][:1]:
            (fx, _, cx), (_, fy, cy), _ = camera.pop('intrinsics')
            camera |= {'fx': fx, 'fy': fy, 'cx': cx, 'cy': cy}
        content['cameras'][1]['distortion'] = {'model': 'opencv', 'coefficients': [0.02, -0.01, 0.001, 0.0]}
        documents.write(root / 'cameras.json', content)

    def convert(self, root: Path, out: Path) -> None:
        arguments = ['infer', root, self._config, 'None', '--out', out, '--trajectory', 'translation', '--undistort']
        pictures = 'projects.DistillNeRF.engine.infer.draw_sample'
        # Panels and voxels are tested elsewhere, and take long.
        with mock.patch(pictures, lambda *_: iter([])), mock.patch('sys.argv', list(map(str, arguments))):
            load_tool('infer').main.__wrapped__()

    def load(self, root: Path, out: Path) -> dict[str, Any]:
        with contextlib.redirect_stderr(io.StringIO()):
            views = read_folder(root, IMAGE_SIZE, undistort=True)
        cameras = views.cameras
        parts = zip(views.names, views.images, cameras.intrinsics, cameras.cam2world, strict=True)
        # The order of the file means nothing.
        return {name: {'image': image, 'intrinsics': k, 'cam2world': pose} for name, image, k, pose in parts}


class PublishedCheckpoint(Entrance):
    """A published checkpoint; the networks of the published variants are small ones here."""

    name = 'checkpoint'
    outputs = ('ours.pth',)

    @staticmethod
    def settings(variant: str) -> dict[str, Any]:
        """The settings of a published variant, with fewer of everything."""
        settings = published_settings(variant)
        small = {'blocks': (1, 1, 1, 1)}
        settings['space'] |= {'step': 4.0, 'outer_step': 20.0}
        settings['coarse'] |= {'width': 4, 'channels': 8, 'depth_channels': 6, **small}
        settings['fine'] |= {'width': 4, 'hidden': 4, 'num_candidates': 3, **small}
        settings['voxel'] |= {'width': 6}
        if settings['head']['type'] == 'color':
            settings['head'] |= {'width': 32, 'num_layers': 2}
        return settings | {'channels': 4}

    def build(self, root: Path) -> None:
        torch.manual_seed(0)
        network = DistillNeRF(**self.settings('model'))
        state = {
            f'model.{published_name(name)}': value.clone().contiguous() for name, value in network.state_dict().items()
        }
        state |= {'model.dx': torch.ones(3), 'seg_model.backbone.weight': torch.ones(2)}
        torch.save({'meta': {'epoch': 3}, 'state_dict': state}, root / 'published.pth')

    def convert(self, root: Path, out: Path) -> None:
        changes = {'published_settings': self.settings, 'PUBLISHED_VARIANTS': ('model', 'model_foundation_feature')}
        with mock.patch.multiple(conversion, **changes), mock.patch('sys.argv', self._arguments(root, out)):
            load_tool('convert_checkpoint').main.__wrapped__()

    def load(self, root: Path, out: Path) -> dict[str, Any]:
        return torch.load(out / 'ours.pth', weights_only=True)['state_dict']

    @staticmethod
    def _arguments(root: Path, out: Path) -> list[str]:
        return ['convert_checkpoint', str(root / 'published.pth'), str(out / 'ours.pth')]


def entrances(folder: Path) -> list[Entrance]:
    """All of them; ``folder`` is for what they need beside."""
    own, checkpoint = OwnImages(folder), PublishedCheckpoint()
    return [
        *(NuScenesTables(), Splits(), Mmdet3dPickle(), PandaSet(), WaymoRecords()),
        *(InfoFile(), own, checkpoint, Cache()),
    ]
