"""Make feature maps of MiniTown, and compare those that a field learned from them with the true ones.

    python -m verification.minitown_features make ROOT OUT [--scenes minitown-0001 ...]
    python -m verification.minitown_features score CONFIG CHECKPOINT [--cfg-options ...]

A feature is the code vector of the class that a pixel shows, as in model_wrapper_minitown_features.py. OUT is what
scene_nerf.features needs. Views from beside are compared with what the town itself shows from there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import DictAction
from PIL import Image

import projects.DistillNeRF.register  # noqa: F401
from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.datasets.teacher_files import feature_path
from projects.DistillNeRF.engine.teachers import TeacherSource
from projects.DistillNeRF.scene_nerf.drive import DriveImage
from projects.DistillNeRF.scene_nerf.export import SHIFTS, VIEWS, fill_unknown, shifted
from projects.DistillNeRF.scene_nerf.settings import SECTION
from projects.DistillNeRF.semantics.classes import code_book
from projects.DistillNeRF.utils.files import save_npy
from projects.MiniTown.rig import CAMERAS, moved
from projects.MiniTown.scene import SCENE_PERIOD, START_OF_FIRST_SCENE, Settings, town_of
from projects.MiniTown.world import Town


def make(root: Path, out: Path, scenes: list[str] | None) -> int:
    """Write the maps of all keyframe images; return how many."""
    codes, count = code_book().astype(np.float16), 0
    for path in sorted((root / 'truth/classes').glob('*/*.png')):
        if not scenes or path.name.partition('__')[0] in scenes:
            save_npy(out / feature_path(path.parent.name, path.stem), codes[np.array(Image.open(path))])
            count += 1
    return count


class TrueClasses:
    """What the town of a scene shows from the cameras of its images, also from beside.

    Args:
        root: data root of MiniTown.
        scene: name of the scene.
    """

    def __init__(self, root: Path, scene: str) -> None:
        written = json.loads((root / 'minitown.json').read_text())
        names = Settings.__dataclass_fields__
        self.settings = Settings(**{name: value for name, value in written.items() if name in names})
        self.index = [self.settings.scene_name(index) for index in range(self.settings.scenes)].index(scene)
        self.town: Town = town_of(self.settings, self.index)

    def of(self, image: DriveImage, view: str) -> np.ndarray:
        """Return the classes ``(H, W)`` of a view of an image."""
        stamp = int(Path(image.path).stem.rpartition('__')[2])
        time = stamp - START_OF_FIRST_SCENE - self.index * SCENE_PERIOD
        camera = next(camera for camera in CAMERAS if camera.name == image.camera)
        pose = moved(self.town.ego_pose(time * 1e-6) @ camera.cam2ego, SHIFTS[view])
        height, width = self.settings.height, self.settings.width
        return self.town.render(camera.intrinsics(height, width), pose, height, width, time * 1e-6).classes


def score(source: TeacherSource) -> dict[str, Any]:
    """Render all keyframes and their shifted views, and compare their features with the true ones.

    Returns:
        per view means over images: the cosine (unknown pixels have the features of the nearest known one, as in
        exported files), the share of pixels whose feature is nearest to the code of the true class, the share of
        unknown pixels, and the cosine of the map of the original view as it is.
    """
    settings, teacher = source.settings(), source.open()
    true, codes = TrueClasses(Path(settings.roots['truth']), settings.scene), code_book()
    sums: dict[str, list[tuple[float, ...]]] = {view: [] for view in VIEWS}
    for image in settings.drive().images:
        if image.frame is None:
            continue
        cameras = shifted(image.camera_at(*settings.image_size), VIEWS)
        with torch.no_grad():
            seen = teacher.render(cameras, image.timestamp, [image] + [None] * (len(VIEWS) - 1))
        if seen.features is None:
            raise SystemExit('the checkpoint has no features; train with scene_nerf.features')
        original = codes[true.of(image, VIEWS[0])]
        for number, view in enumerate(VIEWS):
            features = seen.features[number].permute(1, 2, 0).float().cpu().numpy()
            unknown = ~np.isfinite(features).all(-1)
            filled, classes = fill_unknown(np.nan_to_num(features), unknown), true.of(image, view)
            right = (filled @ codes.T).argmax(-1) == classes
            alike = (_cosine(filled, codes[classes]), right.mean(), unknown.mean(), _cosine(original, codes[classes]))
            sums[view].append(tuple(map(float, alike)))
    names = ('cosine', 'right_class', 'unknown', 'cosine_of_original')
    return {view: dict(zip(names, np.mean(rows, 0).tolist(), strict=True)) for view, rows in sums.items()}


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return float(((one * other).sum(-1) / np.maximum(lengths, 1e-9)).mean())


def main() -> None:
    """Write maps, or print scores as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    maker = commands.add_parser('make')
    maker.add_argument('root', type=Path)
    maker.add_argument('out', type=Path)
    maker.add_argument('--scenes', nargs='+')
    scorer = commands.add_parser('score')
    scorer.add_argument('config')
    scorer.add_argument('checkpoint')
    scorer.add_argument('--cfg-options', nargs='+', action=DictAction)
    args = parser.parse_args()
    if args.command == 'make':
        print(f'{args.out}: {make(args.root, args.out, args.scenes)} maps')
        return
    source = TeacherSource(load_config(args.config, args.cfg_options, sections=(SECTION,)), args.checkpoint)
    source.check()
    print(json.dumps(score(source), indent=2))


if __name__ == '__main__':
    main()
