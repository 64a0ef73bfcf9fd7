"""Export of one scene: drive through a town, measure, and write files, truth and table rows."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from projects.DistillNeRF.datasets.teacher_files import ORIGINAL_VIEW, VIRTUAL_VIEWS
from projects.DistillNeRF.utils.files import atomic_path, save_json

from .integrity import code_digest, scene_files
from .lidar import Sweep, in_town, scan
from .occupancy import CameraView, camera_mask, lidar_mask, object_surface, static_surface, voxelize, without_hidden
from .rig import CAMERAS, Camera, Lidar, moved, rigid, transform
from .tables import SceneTables, Shot
from .truth import (
    Place,
    jpeg,
    save_bytes,
    save_png,
    save_teacher,
    save_truth,
    save_virtual,
)
from .visibility import silhouettes
from .world import Render, Town

# Times in microseconds since the start of the town's clock; the first camera fires after 0.
FIRST = 100_000
KEYFRAME_PERIOD = 500_000
LIDAR_PERIOD = 100_000
CAMERA_PERIOD = 250_000
START_OF_FIRST_SCENE = 1_600_000_000_000_000
SCENE_PERIOD = 100_000_000

MAP_RESOLUTION = 0.1
# The map reaches this far around the drive, meters; the devkit crops 57 m around the car and needs all of it.
MAP_MARGIN = 70.0

PATH_CAMERA = 'CAM_FRONT'
PATH_KEYFRAME = 1
PATH_OFFSETS = tuple(step / 10 for step in range(-12, 13))


@dataclass(frozen=True)
class Settings:
    """What a MiniTown data set depends on.

    Attributes:
        scenes: how many.
        seed: of everything.
        keyframes: per scene, at 2 Hz.
        height, width: of the images.
        samples: of an image per pixel and direction, against aliasing.
    """

    scenes: int = 10
    seed: int = 0
    keyframes: int = 8
    height: int = 112
    width: int = 200
    samples: int = 2

    @property
    def duration(self) -> float:
        """Return the seconds that a scene lasts."""
        return (FIRST + (self.keyframes - 1) * KEYFRAME_PERIOD) * 1e-6

    def scene_name(self, index: int) -> str:
        """Return the name of a scene."""
        return f'minitown-{index + 1:04d}'

    @property
    def splits(self) -> dict[str, list[str]]:
        """Return the names of the training and validation scenes: the last fifth, at least one, validates."""
        names = [self.scene_name(index) for index in range(self.scenes)]
        validation = max(1, self.scenes // 5)
        return {'train': names[:-validation], 'val': names[-validation:]}


def lidar_shots(keyframes: int) -> list[Shot]:
    """Return the LiDAR sweeps of a scene; those of the key frames define their time."""
    return _shots(Lidar().name, keyframes, LIDAR_PERIOD, 0)


def camera_shots(camera: Camera, keyframes: int) -> list[Shot]:
    """Return the images of one camera."""
    return _shots(camera.name, keyframes, CAMERA_PERIOD, camera.lead)


def _shots(channel: str, keyframes: int, period: int, lead: int) -> list[Shot]:
    """Return the measurements of one sensor, one every ``period``, ``lead`` before the LiDAR; microseconds."""
    per_keyframe = KEYFRAME_PERIOD // period
    return [
        Shot(channel, FIRST + step * period - lead, -(-step // per_keyframe), step % per_keyframe == 0)
        for step in range((keyframes - 1) * per_keyframe + 1)
    ]


def export_scene(root: Path, settings: Settings, index: int) -> None:
    """Write scene ``index`` below ``root``; its record comes last, so that a scene with a record is whole."""
    name = settings.scene_name(index)
    export = _SceneExport(root, settings, name, index, town_of(settings, index))
    record = export.run()
    save_json(record_path(root, name), {**record, 'code': code_digest(), 'files': scene_files(root, name, record)})


def town_of(settings: Settings, index: int) -> Town:
    """Build the town of scene ``index``, the same at every call."""
    seed = int(np.random.SeedSequence([settings.seed, index]).generate_state(1)[0])
    return Town(seed, settings.duration)


def record_path(root: Path, name: str) -> Path:
    """Return the path of the record of a scene: its table rows, its objects and its novel-view paths."""
    return root / 'records' / f'{name}.json'


class _SceneExport:
    """The state of one export: the town, the tables, and what the key frames have seen so far."""

    def __init__(self, root: Path, settings: Settings, name: str, index: int, town: Town) -> None:
        self.root, self.settings, self.name, self.town = root, settings, name, town
        self.tables = SceneTables(
            name,
            (settings.seed, name),
            START_OF_FIRST_SCENE + index * SCENE_PERIOD,
            settings.height,
            settings.width,
        )
        self.lidar = Lidar()
        self.rng = np.random.default_rng([settings.seed, index])
        self.keyshots = [shot for shot in lidar_shots(settings.keyframes) if shot.is_key]
        self.key_poses = np.stack([town.ego_pose(shot.time) for shot in self.keyshots])
        # A map mask begins at the origin of the global frame: put the drive in its middle.
        corner = self.key_poses[:, :2, 3].min(axis=0) - MAP_MARGIN
        self.town2global = rigid(np.eye(3), (-corner[0], -corner[1], 0.0))
        self.instances: dict[str, int] = {}
        self.key_sweeps: list[Sweep] = []
        self.views: dict[int, list[CameraView]] = defaultdict(list)
        self.pixels: dict[str, np.ndarray] = {}
        self.paths: list[dict[str, Any]] = []

    def run(self) -> dict[str, Any]:
        """Write all files of the scene; return its record."""
        self.tables.add_samples(self.keyshots)
        self.write_lidar()
        for camera in CAMERAS:
            self.write_camera(camera)
        self.add_annotations()
        self.write_occupancy()
        description = f'MiniTown, seed {self.settings.seed}: a drive of {self.settings.duration:.1f} s'
        rows = self.tables.finish(description, self.write_map())
        tokens = [self.tables.token('instance', box) for box in self.instances]
        return {'name': self.name, 'instances': tokens, 'tables': rows, 'left_right': self.paths}

    def write_lidar(self) -> None:
        """Write all sweeps; keep those of the key frames."""
        shots = lidar_shots(self.settings.keyframes)
        for shot in shots:
            lidar2town = self.town.ego_pose(shot.time) @ self.lidar.lidar2ego
            sweep = scan(self.town, self.lidar, lidar2town, shot.time, self.rng)
            save_bytes(self.measurement(shot, '.pcd.bin'), sweep.points.tobytes())
            if shot.is_key:
                self.key_sweeps.append(sweep)
        self.tables.add_data(shots, self.global_poses(shots), '.pcd.bin')

    def write_camera(self, camera: Camera) -> None:
        """Write the images of one camera, with truth, teacher and virtual views at the key frames."""
        shots = camera_shots(camera, self.settings.keyframes)
        for shot in shots:
            cam2town = self.town.ego_pose(shot.time) @ camera.cam2ego
            render = self.render(camera, cam2town, shot.time)
            image = jpeg(render.rgb)
            save_bytes(self.measurement(shot, '.jpg'), image)
            if shot.is_key:
                self.write_truth(camera, shot, render, image)
                if camera.name == PATH_CAMERA and shot.keyframe == PATH_KEYFRAME and self.validates:
                    self.paths.append(self.write_path(camera, shot))
        self.tables.add_data(shots, self.global_poses(shots), '.jpg')

    def write_truth(self, camera: Camera, shot: Shot, render: Render, image: bytes) -> None:
        """Write truth, teacher and virtual views of a key frame's image and keep its depth for the masks."""
        place = Place(self.root, camera.name, self.tables.stem(shot))
        cam2town = self.town.ego_pose(shot.time) @ camera.cam2ego
        boxes = self.town.boxes(shot.time)
        save_truth(place, render, {index: self.instance(box.token) for index, box in enumerate(boxes)})
        save_teacher(place, ORIGINAL_VIEW, image, render.depth)
        for view, motion in VIRTUAL_VIEWS.items():
            virtual = self.render(camera, moved(cam2town, motion), shot.time)
            virtual_image = jpeg(virtual.rgb)
            save_virtual(place, view, virtual_image, virtual.depth)
            save_teacher(place, view, virtual_image, virtual.depth)

        intrinsics = camera.intrinsics(self.settings.height, self.settings.width)
        cam2ego = np.linalg.inv(self.key_poses[shot.keyframe]) @ cam2town
        self.views[shot.keyframe].append(CameraView(cam2ego, intrinsics, render.depth))
        counts = np.stack(silhouettes(self.town, boxes, cam2town, intrinsics, render.instances, shot.time))
        for box, seen in zip(boxes, counts.T, strict=True):
            key = f'{shot.keyframe}/{box.token}'
            self.pixels[key] = self.pixels.get(key, 0) + seen

    def write_path(self, camera: Camera, shot: Shot) -> dict[str, Any]:
        """Write the left-right path of one image; return its entry in ``truth/left_right.json``."""
        cam2town = self.town.ego_pose(shot.time) @ camera.cam2ego
        lidar2town = self.key_poses[shot.keyframe] @ self.lidar.lidar2ego
        folder = Path('truth') / 'left_right' / self.tables.stem(shot)
        views = []
        for offset in PATH_OFFSETS:
            pose = rigid(cam2town[:3, :3], cam2town[:3, 3] + offset * lidar2town[:3, 0])
            render = self.render(camera, pose, shot.time)
            image, depth = folder / f'{offset:+.1f}.jpg', folder / f'{offset:+.1f}.npy'
            save_bytes(self.root / image, jpeg(render.rgb))
            with atomic_path(self.root / depth) as temporary:
                np.save(temporary, render.depth.astype(np.float16))
            views.append(
                {
                    'offset': offset,
                    'rgb': image.as_posix(),
                    'depth': depth.as_posix(),
                    'cam2global': (self.town2global @ pose).tolist(),
                    'cam2lidar': (np.linalg.inv(lidar2town) @ pose).tolist(),
                }
            )
        return {
            'scene': self.name,
            'sample_token': self.tables.token('sample', shot.keyframe),
            'sample_data_token': self.tables.token('data', shot.channel, shot.stamp),
            'camera': camera.name,
            'intrinsic': camera.intrinsics(self.settings.height, self.settings.width).tolist(),
            'views': views,
        }

    def add_annotations(self) -> None:
        """Annotate what a LiDAR point or a pixel of the key frame shows."""
        first, last = (self.town.boxes(self.keyshots[position].time) for position in (0, -1))
        start = {box.token: np.asarray(box.center) for box in first}
        movers = {
            box.token for box in last if box.token in start and np.linalg.norm(box.center - start[box.token]) > 0.3
        }
        for shot, sweep in zip(self.keyshots, self.key_sweeps, strict=True):
            boxes = self.town.boxes(shot.time)
            points = np.bincount(sweep.instances[sweep.instances >= 0], minlength=len(boxes))
            for box, count in zip(boxes, points, strict=True):
                visible, whole = self.pixels.get(f'{shot.keyframe}/{box.token}', (0, 0))
                if count or visible:
                    center = transform(self.town2global, np.asarray(box.center))
                    self.tables.add_annotation(
                        shot.keyframe,
                        dataclasses.replace(box, center=center),
                        count,
                        visible / max(whole, 1),
                        box.token in movers,
                    )

    def write_occupancy(self) -> None:
        """Write the Occ3D labels of every key frame."""
        static = static_surface(self.town, self.key_poses, self.keyshots[0].time)
        for shot, pose, sweep in zip(self.keyshots, self.key_poses, self.key_sweeps, strict=True):
            town2ego = np.linalg.inv(pose)
            objects = object_surface(self.town, pose, shot.time)
            semantics = voxelize(
                transform(town2ego, np.concatenate([static.points, objects.points])),
                np.concatenate([static.classes, objects.classes]),
            )
            origin = self.lidar.lidar2ego[:3, 3]
            semantics = without_hidden(semantics, origin)
            points = transform(town2ego, in_town(sweep, pose @ self.lidar.lidar2ego))
            path = self.root / 'gts' / self.name / self.tables.token('sample', shot.keyframe) / 'labels.npz'
            with atomic_path(path) as temporary:
                np.savez_compressed(
                    temporary,
                    semantics=semantics,
                    mask_lidar=lidar_mask(origin, points).astype(np.uint8),
                    mask_camera=camera_mask(semantics, self.views[shot.keyframe]).astype(np.uint8),
                )

    def write_map(self) -> str:
        """Write the map mask; return its file name below the root."""
        global_poses = self.town2global @ self.key_poses
        columns, rows = np.ceil((global_poses[:, :2, 3].max(axis=0) + MAP_MARGIN) / MAP_RESOLUTION).astype(int)
        corner = self.town2global[:2, 3]
        x = np.arange(columns) * MAP_RESOLUTION - corner[0]
        mask = np.zeros((rows, columns), np.uint8)
        for row in range(rows):
            y = np.full(columns, (rows - row) * MAP_RESOLUTION - corner[1])
            mask[row] = np.where(self.town.drivable(np.stack([x, y], axis=-1)), 255, 0)
        name = f'maps/{self.tables.token("map")}.png'
        save_png(self.root / name, mask)
        return name

    @property
    def validates(self) -> bool:
        """Return whether this is a validation scene."""
        return self.name in self.settings.splits['val']

    def render(self, camera: Camera, cam2town: np.ndarray, time: float) -> Render:
        """Render what a camera sees."""
        height, width = self.settings.height, self.settings.width
        intrinsics = camera.intrinsics(height, width)
        return self.town.render(intrinsics, cam2town, height, width, time, samples=self.settings.samples)

    def global_poses(self, shots: list[Shot]) -> np.ndarray:
        """Return ego poses ``(n, 4, 4)`` in the global frame of the data set."""
        return np.stack([self.town2global @ self.town.ego_pose(shot.time) for shot in shots])

    def measurement(self, shot: Shot, suffix: str) -> Path:
        """Return the path of an image or sweep."""
        folder = 'samples' if shot.is_key else 'sweeps'
        return self.root / folder / shot.channel / f'{self.tables.stem(shot)}{suffix}'

    def instance(self, box_token: str) -> int:
        """Return the position of an object in the scene's list of instances."""
        return self.instances.setdefault(box_token, len(self.instances))
