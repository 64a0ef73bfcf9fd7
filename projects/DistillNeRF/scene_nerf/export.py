"""Write what a teacher sees, in the published layout (docs/DATA.md#teacher-features-truth), for students to load.

Depth is z in meters, float16, NaN in the sky and where the teacher knows nothing. Half precision has 11 significant
bits: what is written is off by at most 1 / 2048 of the depth (4 mm at 8 m, 3 cm at 100 m). Sky masks are uint8, 1 where
more than half of what is seen is sky; what is unknown is not sky, and its depth says that it is unknown.

RGB is written for shifted views, by teachers with color. A JPEG has no unknown pixels: those are inpainted from the
known ones around, rather than black, and the summary tells their share. A view of which nothing is
known has no files.

Features are written, float16, by teachers that learned some, below ``features/``, which then is the root of features.
Unknown pixels take those of the nearest known one, too: students refuse NaN there.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..datasets.teacher_files import ORIGINAL_VIEW, VIRTUAL_VIEWS, virtual_feature_path, virtual_view_files
from ..geometry.cameras import Cameras
from ..geometry.matrices import multiply
from ..pipelines.maps import check_depth, check_sky
from ..utils.errors import InputError, warn
from ..utils.files import atomic_path, file_stems, save_json, save_npy
from ..utils.provenance import Provenance, fingerprint
from .drive import Drive, DriveImage
from .teacher import Teacher, TeacherRendering, corrected

# What the same teacher wrote in another version is made again.
VERSION = 4
SHIFTS = {ORIGINAL_VIEW: (0.0, 0.0, 0.0), **VIRTUAL_VIEWS}
VIEWS = tuple(SHIFTS)
# Below the teacher root.
FEATURES = 'features'
JPEG_QUALITY = 95
# Colors of unknown pixels are continued from so many pixels around.
INPAINT_RADIUS = 5
HINT = 'train the teacher longer, or look at its report'


@dataclass(frozen=True)
class ExportOptions:
    """What is written, and where.

    Attributes:
        out: the teacher root.
        teacher: fingerprint of the teacher: files of another one are made again.
        size: (height, width) of all files.
        views: names of the views.
    """

    out: Path
    teacher: str
    size: tuple[int, int]
    views: tuple[str, ...] = VIEWS

    def source(self, image: DriveImage, view: str) -> str:
        """Return the fingerprint of what the files of a view are made from."""
        return fingerprint(
            version=VERSION,
            teacher=self.teacher,
            size=list(self.size),
            shift=list(SHIFTS[view]),
            timestamp=image.timestamp,
            intrinsics=image.intrinsics,
            cam2scene=image.cam2scene,
            own_car=None if image.own_car is None else fingerprint(mask=image.own_car_mask(*self.size)),
        )

    def files(self, image: DriveImage, view: str) -> dict[str, Path]:
        """Return the files of a view, by kind; ``rgb`` of shifted views alone, ``features`` where they are named."""
        try:
            virtual = virtual_view_files(image.teacher, view)
        except (KeyError, ValueError) as error:
            raise InputError(
                f'{image.path}: its record names no teacher files in the layout of docs/DATA.md ({error}); '
                'convert the data again with tools/create_data.py'
            ) from error
        names = dict(image.teacher) if view == ORIGINAL_VIEW else virtual
        if image.features is not None:
            own = image.features if view == ORIGINAL_VIEW else virtual_feature_path(image.features, view)
            names[FEATURES] = f'{FEATURES}/{own}'
        return {kind: self.out / name for kind, name in names.items()}


@dataclass
class ExportSummary:
    """What an export did.

    Attributes:
        written, kept: files that were made, and those that were there and current.
        replaced: those of the written that stood there before, of another teacher or size, or damaged.
        unknown_depth: share of pixels that have neither depth nor sky, of the views that were made.
        filled_color: share of pixels of their RGB that have the color of another.
        unknown_views: views of which nothing is known.
        colorless: views without RGB, as the teacher has no color.
    """

    written: int = 0
    kept: int = 0
    replaced: int = 0
    unknown_depth: float = 0.0
    filled_color: float = 0.0
    unknown_views: int = 0
    colorless: int = 0

    def line(self) -> str:
        """Return it in words."""
        text = f'{self.written} files written ({self.replaced} replaced), {self.kept} kept'
        if self.written:
            text += f'; unknown depth {self.unknown_depth:.1%}, filled color {self.filled_color:.1%} of the pixels'
        if self.colorless:
            text += f'; {self.colorless} shifted views have no RGB: this teacher has no color'
        return text


@dataclass(frozen=True)
class ViewMaps:
    """What is written of one view.

    Attributes:
        depth: ``(h, w)`` float16 z in meters, NaN where unknown.
        sky: ``(h, w)`` uint8, 1 = sky.
        rgb: ``(h, w, 3)`` uint8; None without color.
        features: ``(h', w', C)`` float16; None without.
        unknown, filled: shares of the pixels whose depth and sky, whose color is unknown.
    """

    depth: np.ndarray
    sky: np.ndarray
    rgb: np.ndarray | None
    unknown: float
    filled: float
    features: np.ndarray | None = None


@dataclass(frozen=True)
class Task:
    """The views of one image that have to be made."""

    image: DriveImage
    views: tuple[str, ...]


@dataclass(frozen=True)
class Made:
    """What became of one view.

    Attributes:
        task: whose view it is.
        view: its name.
        files: those that were written.
        unknown, filled: as in :class:`ViewMaps`.
        colorless: whether the teacher has no color for its RGB.
    """

    task: Task
    view: str
    files: list[Path] = field(default_factory=list)
    unknown: float = 1.0
    filled: float = 0.0
    colorless: bool = False


# Makes the views of tasks, in any order; :func:`render_tasks` in this process.
Renderer = Callable[[Sequence[Task]], Iterable[list[Made]]]


def export(drive: Drive, options: ExportOptions, render: Renderer) -> ExportSummary:
    """Write the files of all keyframe images of a drive; those that are current stay.

    Files get their names when they are whole. ``OUT/made_from/SCENE.json`` says what each was made from, so that an
    export that was interrupted goes on where it stopped.

    Args:
        drive: the drive.
        options: what to write.
        render: makes the views that are missing or stale.

    Raises:
        InputError: no teacher files are named, another shape than that of the images, files that are there and were
            not written by an export, or a teacher whose maps no student would load.
    """
    images = [image for image in drive.images if image.frame is not None]
    check_shape(images, options)
    summary = ExportSummary()
    unknown, filled, colored, count = 0.0, 0.0, 0, 0
    with _claimed(drive, images, options) as made_from:
        for views in render(list(_tasks(images, options, made_from, summary))):
            _remove_features(views, options, made_from)
            made_from.record_all(
                (file, options.source(one.task.image, one.view)) for one in views for file in one.files
            )
            for one in views:
                summary.written += len(one.files)
                summary.unknown_views += not one.files
                summary.colorless += one.colorless
                unknown, count = unknown + one.unknown, count + 1
                if one.view != ORIGINAL_VIEW and not one.colorless:
                    filled, colored = filled + one.filled, colored + 1
    summary.replaced = made_from.replaced
    summary.unknown_depth, summary.filled_color = unknown / max(count, 1), filled / max(colored, 1)
    if summary.unknown_views:
        warn(
            f'{drive.scene}: nothing is known of {summary.unknown_views} of {count} views, which have no files; {HINT}'
        )
    _warn_of_other_views(images, options, made_from, drive.scene)
    return summary


def check_shape(images: Sequence[DriveImage], options: ExportOptions) -> None:
    """Check that shifted views have the shape of their images, as students ask.

    Raises:
        InputError: they do not; names an image and a size that fits.
    """
    height, width = options.size
    for image in images if set(options.views) - {ORIGINAL_VIEW} else ():
        if abs(width / image.width * image.height - height) > 1:
            fitting = round(width * image.height / image.width)
            alike = all(abs(width / one.width * one.height - fitting) <= 1 for one in images)
            size = f'give --size {fitting} {width}, or' if alike else 'other cameras have others; give'
            raise InputError(
                f'{image.path}: the image is {image.width}x{image.height}, and {width}x{height} has another shape; '
                f'{size} --views {ORIGINAL_VIEW} alone'
            )


def provenance(out: Path, scene: str) -> Provenance:
    """Return what the files of a scene below the teacher root were made from."""
    return Provenance(out, f'made_from/{file_stems([scene])[0]}.json')


@contextlib.contextmanager
def _claimed(drive: Drive, images: Sequence[DriveImage], options: ExportOptions) -> Iterator[Provenance]:
    """Make the file that says that an export writes the files of a scene; if none is written, take it back.

    Raises:
        InputError: there is none yet, but files are there, such as published ones, or the truth of MiniTown.
    """
    made_from = provenance(options.out, drive.scene)
    if made_from.path.is_file():
        yield made_from
        return
    if there := _first_file(images, options):
        raise InputError(
            f'{there}: is there, and {made_from.path} does not say that an export made it; '
            'choose another --out, or remove the files of this scene'
        )
    folders = [folder for folder in (made_from.path.parent, options.out) if not folder.exists()]
    save_json(made_from.path, {})
    try:
        yield made_from
    except BaseException:
        if _first_file(images, options) is None:
            made_from.path.unlink(missing_ok=True)
            for folder in folders:
                with contextlib.suppress(OSError):  # others write there, too
                    folder.rmdir()
        raise


def _first_file(images: Sequence[DriveImage], options: ExportOptions) -> Path | None:
    """Return a file of any view of images that is there; None if there is none."""
    files = (file for image in images for view in VIEWS for file in options.files(image, view).values())
    return next((file for file in files if file.exists()), None)


def _tasks(
    images: Sequence[DriveImage], options: ExportOptions, made_from: Provenance, summary: ExportSummary
) -> Iterator[Task]:
    """Yield what has to be made; count what is kept."""
    for image in images:
        stale = []
        for view in options.views:
            source = options.source(image, view)
            files = options.files(image, view)
            current = {kind: made_from.is_current(file, source) for kind, file in files.items()}
            kept = sum(current.values())
            # A teacher without color made no RGB, one without features none: entries of a view are written together.
            for kind in ('rgb', FEATURES):
                file = files.get(kind)
                if file is not None and not file.exists() and made_from.source(file) != source:
                    del current[kind]
            if all(current.values()):
                summary.kept += kept
            else:
                stale.append(view)
        if stale:
            yield Task(image, tuple(stale))


def _warn_of_other_views(
    images: Sequence[DriveImage], options: ExportOptions, made_from: Provenance, scene: str
) -> None:
    """Warn of files of views that were not asked for, if another teacher made them."""
    stale = {
        view: file
        for view in VIEWS
        if view not in options.views
        for image in images
        for file in options.files(image, view).values()
        if made_from.source(file) not in (None, options.source(image, view)) and file.exists()
    }
    if stale:
        warn(
            f'{next(iter(stale.values()))}: is of another teacher or size, as are other files of scene {scene}, views '
            f'{" ".join(stale)}, which were not asked for; make them again with --views, or remove them'
        )


def _remove_features(views: Sequence[Made], options: ExportOptions, made_from: Provenance) -> None:
    """Remove features that an export made of views that have none now."""
    for one in views:
        file = options.files(one.task.image, one.view).get(FEATURES)
        if file is not None and file not in one.files and made_from.source(file) is not None:
            file.unlink(missing_ok=True)


def render_tasks(teacher: Teacher, options: ExportOptions, tasks: Iterable[Task]) -> Iterator[list[Made]]:
    """Make the views of tasks with a teacher; yield those of one image after the other."""
    for task in tasks:
        yield make_views(teacher, options, task)


def make_views(teacher: Teacher, options: ExportOptions, task: Task) -> list[Made]:
    """Render the views of one image together and write their files."""
    # What the image shows is what its camera saw from where it was; shifted views are beside that.
    cameras = shifted(corrected(teacher, task.image).camera_at(*options.size), task.views)
    with torch.no_grad():
        recorded = [task.image if view == ORIGINAL_VIEW else None for view in task.views]
        rendering = teacher.render(cameras, task.image.timestamp, recorded)
    return [_write(options, task, view, view_maps(rendering, number)) for number, view in enumerate(task.views)]


def shifted(camera: Cameras, views: Sequence[str]) -> Cameras:
    """Return a camera ``(1,)`` as it stands in each of the views, ``(V,)``."""
    shift = torch.eye(4, dtype=camera.cam2world.dtype).repeat(len(views), 1, 1)
    shift[:, :3, 3] = torch.tensor([SHIFTS[view] for view in views], dtype=shift.dtype)
    poses = multiply(camera.cam2world.expand(len(views), 4, 4), shift)
    return dataclasses.replace(camera, intrinsics=camera.intrinsics.repeat(len(views), 1, 1), cam2world=poses)


def view_maps(rendering: TeacherRendering, number: int) -> ViewMaps:
    """Convert view ``number`` of a rendering to what is written."""
    sky = _array(rendering.sky[number]) > 0.5  # NaN is no sky
    depth = _array(rendering.depth[number])
    with np.errstate(over='ignore', invalid='ignore'):
        half = depth.astype(np.float16)
    # Nothing lies at or behind the camera, nor beyond what half precision can tell.
    half[~(np.isfinite(half) & (half > 0)) | sky] = np.nan
    rgb, filled = None, 0.0
    if rendering.image is not None:
        color = _array(rendering.image[number]).transpose(1, 2, 0)
        unknown = ~np.isfinite(color).all(-1)
        filled = float(unknown.mean())
        if filled < 1:
            rgb = inpaint((np.nan_to_num(color).clip(0, 1) * 255).round().astype(np.uint8), unknown)
    unknown_depth = float((np.isnan(half) & ~sky).mean())
    return ViewMaps(half, sky.astype(np.uint8), rgb, unknown_depth, filled, _features(rendering, number))


def _features(rendering: TeacherRendering, number: int) -> np.ndarray | None:
    """Return the features ``(h', w', C)`` float16 of view ``number``; None if there are none, or none is known."""
    if rendering.features is None:
        return None
    features = _array(rendering.features[number]).transpose(1, 2, 0)
    unknown = ~np.isfinite(features).all(-1)
    return None if unknown.all() else fill_unknown(features.astype(np.float16), unknown)


def inpaint(image: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Continue the colors around unknown pixels ``(h, w)`` of an image ``(h, w, 3)`` uint8 into them.

    At least one is known.
    """
    return cv2.inpaint(image, unknown.astype(np.uint8), INPAINT_RADIUS, cv2.INPAINT_NS) if unknown.any() else image


def fill_unknown(image: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Give unknown pixels ``(h, w)`` of features ``(h, w, C)`` what the nearest known one has.

    At least one is known.
    """
    if not unknown.any():
        return image
    _, labels = cv2.distanceTransformWithLabels(
        unknown.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colors = np.zeros((labels.max() + 1, image.shape[2]), image.dtype)
    colors[labels[~unknown]] = image[~unknown]
    return colors[labels]


def _write(options: ExportOptions, task: Task, view: str, maps: ViewMaps) -> Made:
    """Write the files of one view; remove what stands in place of those that are not known."""
    files = options.files(task.image, view)
    known = not np.isnan(maps.depth).all()
    contents: dict[str, Any] = {'depth': maps.depth, 'sky_mask': maps.sky} if known else {}
    if known and 'rgb' in files and maps.rgb is not None:
        contents['rgb'] = maps.rgb
    if known and FEATURES in files and maps.features is not None:
        contents[FEATURES] = maps.features
    if known:
        # As the student's loader does.
        check_depth(files['depth'], maps.depth.astype(np.float32), HINT)
        check_sky(files['sky_mask'], maps.sky.astype(np.float32), HINT)
    for kind, file in files.items():
        if kind not in contents:
            # Features that no export made may be the maps of the foundation model: _remove_features.
            if kind != FEATURES:
                file.unlink(missing_ok=True)
        elif kind == 'rgb':
            with atomic_path(file) as temporary:
                Image.fromarray(contents[kind]).save(temporary, format='JPEG', quality=JPEG_QUALITY, subsampling=0)
        else:
            save_npy(file, contents[kind])
    colorless = known and 'rgb' in files and maps.rgb is None
    return Made(task, view, [files[kind] for kind in contents], maps.unknown, maps.filled, colorless)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
