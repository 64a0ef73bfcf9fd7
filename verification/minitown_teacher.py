"""Compare a teacher of a scene of MiniTown with the truth: depth, sky, what moves, and views from beside.

    python -m verification.minitown_teacher CONFIG CHECKPOINT [--method lidar] [--cfg-options ...]

CONFIG and CHECKPOINT are those of tools/render_scene_nerf.py. The truth (dense maps, annotations) lies beside the
converted data; teachers never read it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from projects.DistillNeRF.datasets.image_files import read_image
from projects.DistillNeRF.engine.teachers import TeacherSource
from projects.DistillNeRF.evaluation.image import psnr
from projects.DistillNeRF.scene_nerf.drive import DriveImage
from projects.DistillNeRF.scene_nerf.export import VIEWS, shifted
from projects.DistillNeRF.scene_nerf.scores import filled
from projects.DistillNeRF.scene_nerf.teacher import TeacherRendering, corrected
from projects.DistillNeRF.utils.errors import command
from verification.teacher_command import parse_teacher

# Instances that go slower stand still, m/s.
SLOWEST = 0.2
# Depth is compared up to here, meters.
FARTHEST = 80.0


def moving_instances(root: Path, scene: str) -> dict[float, np.ndarray]:
    """Return, for each keyframe (seconds), which numbers of the instance maps move then."""
    tables = {
        name: json.loads((root / 'v1.0-mini' / f'{name}.json').read_text()) for name in ('sample', 'sample_annotation')
    }
    tokens = json.loads((root / 'records' / f'{scene}.json').read_text())['instances']
    times = {sample['token']: sample['timestamp'] * 1e-6 for sample in tables['sample']}
    tracks: dict[str, list[tuple[float, np.ndarray]]] = {token: [] for token in tokens}
    for row in tables['sample_annotation']:
        if row['instance_token'] in tracks:
            tracks[row['instance_token']].append((times[row['sample_token']], np.array(row['translation'])))
    moving: dict[float, list[int]] = {}
    for number, token in enumerate(tokens, 1):
        track = sorted(tracks[token], key=lambda place: place[0])
        for index, (time, _) in enumerate(track):
            (first, begin), (last, end) = track[max(index - 1, 0)], track[min(index + 1, len(track) - 1)]
            fast = last > first and np.linalg.norm(end - begin) / (last - first) > SLOWEST
            moving.setdefault(time, []).extend([number] if fast else [])
    return {time: np.array(numbers) for time, numbers in moving.items()}


class Sums:
    """Sums over images; means of errors count pixels, those of PSNR images."""

    def __init__(self) -> None:
        self.errors: dict[str, list[np.ndarray]] = {'static': [], 'moving': []}
        self.known: dict[str, list[np.ndarray]] = {'static': [], 'moving': []}
        self.overlaps = {'sky': np.zeros(2), 'moving': np.zeros(2)}
        self.views: dict[str, list[tuple[float, float, float]]] = {}

    def add_depth(self, seen: TeacherRendering, depth: np.ndarray, moves: np.ndarray) -> None:
        """Compare the depth, sky and motion of one image with the true ones."""
        sky, estimate = ~np.isfinite(depth), seen.depth[0].numpy()
        used = ~sky & (depth < FARTHEST)
        with np.errstate(invalid='ignore'):
            error = np.abs(estimate - depth) / depth
        for name, mask in (('static', used & ~moves), ('moving', used & moves)):
            self.known[name].append(np.isfinite(error[mask]))
            self.errors[name].append(error[mask & np.isfinite(error)])
        self._overlap('sky', seen.sky[0].numpy() > 0.5, sky)
        if seen.moving is not None:
            self._overlap('moving', seen.moving[0].numpy() > 0.5, moves)

    def add_view(self, name: str, image: Tensor, truth: Tensor) -> None:
        """Compare colors ``(3, h, w)`` of a view with the true ones: all pixels, and those that the teacher knows."""
        known = ~image.isnan().any(0)
        of_known = psnr(image[:, known], truth[:, known]) if known.any() else np.nan
        self.views.setdefault(name, []).append((psnr(filled(image)[0], truth), of_known, known.float().mean().item()))

    def _overlap(self, name: str, one: np.ndarray, other: np.ndarray) -> None:
        self.overlaps[name] += [(one & other).sum(), (one | other).sum()]

    def summary(self) -> dict[str, Any]:
        """Return all means."""
        result: dict[str, Any] = {}
        for name in self.errors:
            errors, known = np.concatenate(self.errors[name]), np.concatenate(self.known[name])
            result[name] = {
                'abs_rel': float(errors.mean()),
                'median': float(np.median(errors)),
                'known': float(known.mean()),
                'pixels': len(known),
            }
        result['iou'] = {
            name: float(both / either) if either else None for name, (both, either) in self.overlaps.items()
        }
        result['views'] = {
            name: dict(zip(('psnr', 'psnr_known', 'known'), np.nanmean(values, 0).tolist(), strict=True))
            for name, values in self.views.items()
        }
        return result


def true_image(image: DriveImage, view: str, size: tuple[int, int]) -> Tensor:
    """Read the true colors ``(3, h, w)`` of a view of an image."""
    if view == VIEWS[0]:
        colors = image.read(*size)
    else:
        depth = Path(image.truth['depth'])
        root, camera = depth.parents[3], depth.parent.name
        path = next((root / 'truth' / 'virtual' / view / 'rgb' / camera).glob(f'{depth.stem}.*'))
        colors = read_image(str(path))[..., ::-1]
    if colors.shape[:2] != size:
        raise SystemExit(
            f'{image.path}: view {view} is {colors.shape[:2]}, not {size}; give that as scene_nerf.image_size'
        )
    return torch.from_numpy(np.ascontiguousarray(colors)).permute(2, 0, 1) / 255


def _instances(path: Path) -> np.ndarray:
    numbers = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if numbers is None:
        raise SystemExit(f'{path}: is missing; generate MiniTown again')
    return numbers


def compare(source: TeacherSource) -> dict[str, Any]:
    """Render all keyframes and their shifted views, and compare them with the truth."""
    settings, teacher = source.settings(), source.open()
    drive, sums = settings.drive(), Sums()
    root = Path(settings.roots['truth'])
    moving = moving_instances(root, settings.scene)
    keyframes = {image.frame: image for image in drive.images if image.frame is not None}
    frame_times = dict(zip(sorted(keyframes), sorted(moving), strict=True))
    for image in drive.images:
        if image.frame is None:
            continue
        cameras = shifted(corrected(teacher, image).camera_at(*settings.image_size), VIEWS)
        seen = teacher.render(cameras, image.timestamp, [image] + [None] * (len(VIEWS) - 1)).map(Tensor.cpu)
        depth = Path(image.truth['depth'])
        instances = _instances(root / 'truth/instances' / depth.parent.name / f'{depth.stem}.png')
        moves = np.isin(instances, moving[frame_times[image.frame]])
        sums.add_depth(seen.map(lambda x: x[:1]), np.load(depth), moves)
        if seen.image is not None:
            for index, view in enumerate(VIEWS):
                truth = true_image(image, view, settings.image_size)
                sums.add_view(view, seen.image[index].float(), truth)
    return sums.summary()


@command
def main() -> None:
    """Print the scores as JSON."""
    source = parse_teacher(__doc__)
    print(json.dumps(compare(source), indent=2))


if __name__ == '__main__':
    main()
