"""The town: a seeded street world that can be looked at and measured from anywhere at any time.

Frames of reference: the global frame is meters with z up and the corner of the map at the origin; the ego frame is
x forward, y left, z up with its origin on the ground below the rear axle; a camera looks along +z, x right, y down, and
pixel (0, 0) is the center of the top left pixel. Everything follows from the seed, bit for bit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from projects.DistillNeRF.semantics.classes import CLASS_ID, SKY

from . import plants, streetside, traffic
from .buildings import houses
from .furniture import traffic_light
from .ground import ground
from .mesh import FACE, NO_INSTANCE, Mesh, merge
from .occlusion import GroundOcclusion
from .raycast import NO_FACE, Caster
from .routes import RUN_UP, Drive, LanePath, Signals, drive, route
from .shading import appearance_of, facing_normals, radiance, to_bytes
from .sky import Weather
from .town_plan import HEADINGS, Block, Plan

EGO_SIZE = (1.85, 4.6, 1.6)
"""Width, length, height of the ego car."""
EGO_CENTER = 1.4
"""From the rear axle forward to the middle of the ego car, meters."""
_SIGHT = 110.0
_OFF_SURFACE = 4e-3
# Neighboring pixels that differ by more than this, of 255, are looked at with more rays.
_ROUGH = 24
_GROUND_TOP = 0.3
# Times of which a town keeps what is there: those of six cameras, of the LiDAR, and one more.
_TIMES_KEPT = 8
_REFLECTIVITY = {'road': 0.18, 'pavement': 0.3, 'terrain': 0.4, 'vegetation': 0.45, 'pedestrian': 0.35, 'building': 0.5}


@dataclass(frozen=True)
class Box:
    """One object at one time, in the global frame.

    Attributes:
        token: the same for the same object at all times.
        category: nuScenes category such as ``vehicle.car``.
        center: ``(3,)`` meters. size: ``(3,)`` width, length, height. yaw: radians, 0 along +x.
        velocity: ``(2,)`` meters per second along x and y.
    """

    token: str
    category: str
    center: np.ndarray
    size: np.ndarray
    yaw: float
    velocity: np.ndarray


@dataclass(frozen=True)
class Render:
    """A picture with its truth, all ``(H, W)``.

    Attributes:
        rgb: ``(H, W, 3)`` uint8.
        depth: float32, z in the camera frame in meters; NaN in the sky.
        classes: uint8 ids of :data:`.classes.CLASSES`.
        instances: int32 index into ``Town.boxes(t)``, or -1.
    """

    rgb: np.ndarray
    depth: np.ndarray
    classes: np.ndarray
    instances: np.ndarray


class Town:
    """A street world and a drive through it.

    Args:
        seed: everything follows from it.
        duration: seconds of driving; motion is also defined for 3 s before and after.
    """

    def __init__(self, seed: int, duration: float) -> None:
        # Independent streams, so that a change of one part of the town leaves the others as they were.
        streams = np.random.SeedSequence([seed, 0x70]).spawn(7)
        rng_plan, rng_ego, rng_traffic, rng_people, rng_houses, rng_land, rng_things = map(
            np.random.default_rng, streams
        )
        self.seed, self.duration = seed, duration
        self.plan = Plan.random(rng_plan)
        self.weather = Weather.random(rng_plan)
        self._ego, self.signals = _ego_drive(self.plan, duration, rng_ego)
        self._lights = streetside.traffic_lights(self.plan)
        trees = plants.tree_models(rng_things)
        things, bicycles = streetside.along_pavements(self.plan, trees, rng_things)
        self.actors = bicycles + self._populate(rng_traffic, rng_people)
        self._tokens = [
            hashlib.md5(f'minitown/{seed}/{index}'.encode()).hexdigest() for index in range(len(self.actors))
        ]
        things += streetside.outskirts(self.plan, plants.tree_models(rng_things, detail=1), rng_things)
        self._shade_map = GroundOcclusion(self.plan.size)
        self._static = Caster(self._build(things, trees, rng_houses, rng_land))
        self._moving: dict[float, _Moving] = {}

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Return x_min, y_min, x_max, y_max of the map, meters."""
        return 0.0, 0.0, float(self.plan.size[0]), float(self.plan.size[1])

    def ego_pose(self, t: float) -> np.ndarray:
        """Return ``(4, 4)`` ego to global at ``t`` seconds."""
        x, y, yaw = (float(value) for value in self._ego.at(t))
        pose = np.eye(4)
        pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
        pose[:2, 3] = x, y
        return pose

    def boxes(self, t: float) -> list[Box]:
        """Return all objects at ``t`` seconds; order and tokens never change."""
        boxes = []
        for index, actor in enumerate(self.actors):
            x, y, z, yaw = self._actor_pose(actor, t)
            speed = actor.speed(t)
            boxes.append(
                Box(
                    token=self._tokens[index],
                    category=actor.category,
                    center=np.array([x, y, z + actor.size[2] / 2]),
                    size=np.array(actor.size),
                    yaw=yaw,
                    velocity=speed * np.array([np.cos(yaw), np.sin(yaw)]),
                )
            )
        return boxes

    def drivable(self, points: np.ndarray) -> np.ndarray:
        """Return ``(n,)`` whether ``points`` ``(n, 2)`` in the global frame lie on the road surface."""
        return self.plan.drivable(points)

    def cast(
        self, origins: np.ndarray, directions: np.ndarray, t: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Find the first hits of rays at ``t`` seconds.

        Args:
            origins: ``(n, 3)`` global. directions: ``(n, 3)`` of any length; distances are in meters.

        Returns:
            distance ``(n,)`` (inf on a miss), class ids ``(n,)`` uint8 (sky on a miss), instances ``(n,)`` int32
            (-1 where not an object), intensity ``(n,)`` float32 in [0, 1] as a LiDAR would measure it.
        """
        directions = np.asarray(directions, float)
        directions = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
        distance, faces = self._hit(np.asarray(origins, float), directions, t)
        steep = np.abs(np.einsum('nc,nc->n', faces['normal'], directions))
        shiny = np.where(faces['gloss'] > 0.8, 0.15, _REFLECTIVITY_OF_CLASS[faces['label']])
        intensity = shiny * (0.4 + 0.6 * faces['color'].mean(axis=-1)) * (0.3 + 0.7 * steep)
        return distance, faces['label'].copy(), faces['instance'].copy(), intensity.astype(np.float32)

    def render(
        self,
        intrinsics: np.ndarray,
        cam2global: np.ndarray,
        height: int,
        width: int,
        t: float,
        samples: int = 1,
    ) -> Render:
        """Render a picture and its truth at ``t`` seconds.

        Args:
            intrinsics: ``(3, 3)`` pixels of the ``height`` x ``width`` image.
            cam2global: ``(4, 4)`` camera to global.
            samples: rays per pixel along each axis, averaged into the color wherever it changes from pixel to pixel.
                Depth, classes and instances always belong to the middle of the pixel.
        """
        pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
        rays = _pixel_rays(intrinsics, cam2global, pixels, 1)
        distance, faces = self._hit(rays.origins, rays.directions, t)
        depth = np.where(np.isfinite(distance), distance * rays.forward, np.nan)
        rgb = self._shade(rays, distance, faces, t)
        if samples > 1:
            rough = _rough(rgb.reshape(height, width, 3)).ravel()
            rays = _pixel_rays(intrinsics, cam2global, pixels[rough], samples)
            fine = self._shade(rays, *self._hit(rays.origins, rays.directions, t), t)
            rgb[rough] = fine.reshape(-1, samples**2, 3).mean(axis=1, dtype=np.float32) + 0.5
        return Render(
            rgb=rgb.reshape(height, width, 3),
            depth=depth.reshape(height, width).astype(np.float32),
            classes=faces['label'].reshape(height, width).copy(),
            instances=faces['instance'].reshape(height, width).copy(),
        )

    def _populate(self, rng: np.random.Generator, rng_people: np.random.Generator) -> list[traffic.Actor]:
        """Place everybody, those who are parked first."""
        crowd = traffic.Crowd(self.duration)
        x, y, yaw = self._ego.at(crowd.times)
        crowd.admit((x + EGO_CENTER * np.cos(yaw), y + EGO_CENTER * np.sin(yaw), yaw), EGO_SIZE, gap=0.0)
        near = np.stack([x, y], axis=-1)[::5]
        parked = traffic.parked_vehicles(self.plan, near, _SIGHT, rng)
        moving = traffic.moving_vehicles(self.plan, self.signals, crowd, near, self.duration, rng)
        walking = traffic.pedestrians(self.plan, crowd, near, self.duration, rng_people)
        return parked + moving + walking

    def _build(
        self, things: list[Mesh], trees: list[Mesh], rng_houses: np.random.Generator, rng_land: np.random.Generator
    ) -> Mesh:
        """Build all that stands still, with its shade on the ground."""
        blocks: list[tuple[Block, bool]] = []
        parts = list(things)
        for block in self.plan.blocks():
            park = not block.outer and bool(rng_houses.random() < 0.25)
            blocks.append((block, park or block.outer))
            if park:
                parts += streetside.park(block, trees, rng_land)
                continue
            built = houses(block, (np.zeros(2), self.plan.size), rng_houses)
            for house in built:
                low, high = house.vertices[:, :2].min(axis=0), house.vertices[:, :2].max(axis=0)
                self._shade_map.add((low + high) / 2, *(high - low)[::-1], 0.0, 0.45)
            parts += built
        parts.append(ground(self.plan, blocks, rng_land))
        parts += [traffic_light().placed(light.place, light.yaw) for light in self._lights]
        for index, actor in enumerate(self.actors):
            if actor.drive is None:
                parts.append(self._posed(index, 0.0))
                self._cast_shade(self._shade_map, actor, 0.0)
        return merge(parts)

    def _cast_shade(self, shade: GroundOcclusion, actor: traffic.Actor, t: float) -> None:
        """Darken the ground below an actor."""
        x, y, _, yaw = self._actor_pose(actor, t)
        wide = actor.category.startswith('vehicle') and actor.category != 'vehicle.bicycle'
        shade.add((x, y), 0.85 * actor.size[0], 0.92 * actor.size[1], yaw, 0.85 if wide else 0.45)

    def _actor_pose(self, actor: traffic.Actor, t: float) -> tuple[float, float, float, float]:
        """Return x, y, z and yaw of an actor at ``t``."""
        x, y, yaw = (float(value) for value in actor.at(t))
        return x, y, float(traffic.ground_height(self.plan, np.array([x]), np.array([y]))[0]), yaw

    def _posed(self, index: int, t: float) -> Mesh:
        """Return the mesh of an actor where it is at ``t``."""
        x, y, z, yaw = self._actor_pose(self.actors[index], t)
        return self.actors[index].mesh.placed((x, y, z), yaw, instance=index)

    def _moving_at(self, t: float) -> _Moving:
        """Return all that changes, at ``t``; a few are kept, as many as the cameras of a keyframe, which share it."""
        if t not in self._moving:
            parts, shade = [streetside.lit_lamps(self._lights, self.signals, t)], self._shade_map.copy()
            for index, actor in enumerate(self.actors):
                if actor.drive is not None:
                    parts.append(self._posed(index, t))
                    self._cast_shade(shade, actor, t)
            if len(self._moving) == _TIMES_KEPT:
                del self._moving[next(iter(self._moving))]
            self._moving[t] = _Moving(Caster(merge(parts)), shade)
        return self._moving[t]

    def _hit(self, origins: np.ndarray, directions: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
        """Return distances ``(n,)`` (inf on a miss) and face records ``(n,)`` (sky on a miss) along unit directions."""
        moving = self._moving_at(t).caster
        distance, index = self._static.first(origins, directions)
        nearer, moving_index = moving.first(origins, directions, limits=distance)
        faces = np.full(len(origins), _SKY_FACE)
        rows = np.flatnonzero(index != NO_FACE)
        faces[rows] = self._static.mesh.faces.take(index[rows])
        rows = np.flatnonzero(nearer < distance)
        faces[rows] = moving.mesh.faces.take(moving_index[rows])
        return np.minimum(distance, nearer), faces

    def _shade(self, rays: _Rays, distance: np.ndarray, faces: np.ndarray, t: float) -> np.ndarray:
        """Return the colors ``(n, 3)`` of hits, uint8."""
        color = np.empty((len(distance), 3), np.float32)
        missed = ~np.isfinite(distance)
        color[missed] = self.weather.color(rays.directions[missed].astype(np.float32))
        rows = np.flatnonzero(~missed)
        directions, distance, faces = rays.directions[rows], distance[rows], faces.take(rows)
        points = rays.origins[rows] + distance[:, None] * directions
        normals = facing_normals(faces, directions)
        appearance = appearance_of(points, directions, (distance * rays.spread).astype(np.float32), faces, self.plan)
        lit = self._sunlit(points, normals, distance, t)
        low = (normals[:, 2] > 0.9) & (points[:, 2] < _GROUND_TOP)
        dark = np.zeros(len(points), np.float32)
        dark[low] = self._moving_at(t).shade.at(points[low, 0], points[low, 1])
        color[rows] = radiance(appearance, normals, directions, lit, dark, distance, self.weather)
        return to_bytes(color)

    def _sunlit(self, points: np.ndarray, normals: np.ndarray, distance: np.ndarray, t: float) -> np.ndarray:
        """Return ``(n,)`` float32: 1 where the sun shines on ``points``, 0 in the shadow."""
        lit = np.zeros(len(points), np.float32)
        rows = np.flatnonzero(normals @ self.weather.sun > 1e-3)
        # float32 cannot tell a far hit from its surface: the offset grows with the distance.
        origins = points[rows] + normals[rows] * (_OFF_SURFACE * (1.0 + 0.02 * distance[rows]))[:, None]
        toward = np.broadcast_to(self.weather.sun, origins.shape)
        free = ~self._static.blocked(origins, toward)
        free[free] = ~self._moving_at(t).caster.blocked(origins[free], toward[free])
        lit[rows] = free
        return lit


@dataclass(frozen=True)
class _Moving:
    """What is at one time: moving objects and lit lamps, and the shade on the ground of everything."""

    caster: Caster
    shade: GroundOcclusion


@dataclass(frozen=True)
class _Rays:
    """Rays of a camera: origins and unit directions ``(n, 3)``, z per meter ``(n,)``, width of a pixel at 1 m."""

    origins: np.ndarray
    directions: np.ndarray
    forward: np.ndarray
    spread: float


def _rough(rgb: np.ndarray) -> np.ndarray:
    """Return ``(H, W)`` whether the color of a pixel of ``rgb`` (H, W, 3) differs visibly from that of a neighbor."""
    rough = np.zeros(rgb.shape[:2], bool)
    for axis in range(2):
        image, result = np.moveaxis(rgb.astype(np.int16), axis, 0), np.moveaxis(rough, axis, 0)
        step = (np.abs(np.diff(image, axis=0)) > _ROUGH).any(axis=-1)
        result[1:] |= step
        result[:-1] |= step
    return rough


def _pixel_rays(intrinsics: np.ndarray, cam2global: np.ndarray, pixels: np.ndarray, samples: int) -> _Rays:
    """Return rays through ``samples`` x ``samples`` evenly spread points of each pixel.

    Args:
        intrinsics: ``(3, 3)``.
        cam2global: ``(4, 4)`` camera to global.
        pixels: ``(n, 2)`` (u, v); the rays of a pixel follow each other.
        samples: points along each axis.
    """
    inside = (np.arange(samples) + 0.5) / samples - 0.5
    points = pixels[:, None] + np.stack(np.meshgrid(inside, inside), axis=-1).reshape(-1, 2)
    pixels = np.concatenate([points, np.ones_like(points[..., :1])], axis=-1).reshape(-1, 3)
    in_camera = pixels @ np.linalg.inv(np.asarray(intrinsics, float)).T
    in_camera /= np.linalg.norm(in_camera, axis=-1, keepdims=True)
    directions = in_camera @ np.asarray(cam2global, float)[:3, :3].T
    origins = np.broadcast_to(np.asarray(cam2global, float)[:3, 3], directions.shape)
    return _Rays(origins, directions, in_camera[:, 2], 1.0 / (float(intrinsics[0][0]) * samples))


def _ego_drive(plan: Plan, duration: float, rng: np.random.Generator) -> tuple[Drive, Signals]:
    """Draw a way for the ego car with something to see: it soon turns, or waits for a green light, or both."""
    crossing = tuple(int(rng.integers(1, len(centers) - 1)) for centers in plan.centers)
    heading = HEADINGS[int(rng.integers(4))]
    axis = 0 if heading[0] else 1
    cruise, lead = float(rng.uniform(6.5, 9.0)), float(rng.uniform(38.0, 50.0))
    signals = Signals(rng.uniform(0.0, 14.0, [len(centers) for centers in plan.centers]))
    turns_green = rng.uniform(1.5, 3.5) if rng.random() < 0.4 else -RUN_UP
    signals = signals.with_green_from(crossing, axis, float(turns_green))
    path: LanePath = route(plan, rng, crossing, heading, lead, cruise * (duration + 2 * RUN_UP) + 60.0)
    return drive(path, signals, cruise, duration, EGO_CENTER + EGO_SIZE[1] / 2), signals


_SKY_FACE = np.zeros((), FACE)
_SKY_FACE['label'], _SKY_FACE['instance'] = SKY, NO_INSTANCE
_REFLECTIVITY_OF_CLASS = np.full(len(CLASS_ID), 0.4, np.float32)
_REFLECTIVITY_OF_CLASS[SKY] = 0.0
for _name, _value in _REFLECTIVITY.items():
    _REFLECTIVITY_OF_CLASS[CLASS_ID[_name]] = _value
