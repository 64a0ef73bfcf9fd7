"""Virtual views as targets: what a teacher rendered from shifted cameras, checked and chosen at random."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..utils.errors import InputError, warn
from .file_checks import MAP_HINTS, check_virtual_views, count_virtual_views, missing_virtual_features
from .infos import Info
from .teacher_files import UPWARD, VIRTUAL_VIEWS, virtual_view_files


@dataclass(frozen=True)
class VirtualViews:
    """The virtual views that may be targets; false where there are none.

    Attributes:
        names: of the views (:data:`.teacher_files.VIRTUAL_VIEWS`); empty where none are asked for.
        root: folder of the teacher.
        skip_missing: some views of an image may be missing.
    """

    names: tuple[str, ...]
    root: str
    skip_missing: bool

    def __bool__(self) -> bool:
        return bool(self.names)

    def require(self, infos: Sequence[Info], cameras: Sequence[str], features: str | None, ann_file: str) -> None:
        """Check that the files of all views exist, or warn where they may be missing.

        Args:
            infos: the records of the samples.
            cameras: names of the cameras that are loaded.
            features: folder of the features; None where none are loaded.
            ann_file: info file, for messages.

        Raises:
            InputError: files are missing, and may not be, or there are none.
        """
        self._require_images(infos, cameras, ann_file)
        if features is not None:
            self._require_features(infos, cameras, features, ann_file)

    def _require_images(self, infos: Sequence[Info], cameras: Sequence[str], ann_file: str) -> None:
        if not self.skip_missing:
            check_virtual_views(infos, cameras, self.names, self.root)
            return
        views = count_virtual_views(infos, cameras, self.names, self.root)
        if not views.there:
            raise InputError(
                f'{ann_file}: the teacher has no virtual view of any of its samples in {self.root}; '
                f'{MAP_HINTS["teacher"]}, or leave virtual_img_target_smart_sample'
            )
        if views.missing:
            warn(f'{ann_file}: {views.missing} of {views.total} images have no virtual view: no such targets')

    def _require_features(self, infos: Sequence[Info], cameras: Sequence[str], root: str, ann_file: str) -> None:
        missing, total = missing_virtual_features(infos, cameras, self.names, root)
        if missing and not self.skip_missing:
            raise InputError(
                f'{missing[0]}: no such file (nor {len(missing) - 1} more of {total}), so there are no features of '
                'virtual views; make them with tools/extract_features.py --teacher DIR, or '
                'tools/render_scene_nerf.py, leave load_features or virtual_img_target_smart_sample'
            )
        if missing:
            warn(f'{ann_file}: {len(missing)} of {total} features of virtual views are missing: NaN instead')

    def of(self, info: Info, camera: str) -> list[str]:
        """List the names of the views of an image that can be loaded."""
        return [name for name in self.names if not self.skip_missing or self._exists(info, camera, name)]

    def of_all(self, info: Info, cameras: Sequence[str]) -> list[tuple[str, str]]:
        """List camera and name of the views of a keyframe that can be loaded."""
        return [(camera, name) for camera in cameras for name in self.of(info, camera)]

    def choose(self, info: Info, cameras: Sequence[str], notes: list[str]) -> list[tuple[str, str]]:
        """Choose a view at random for every camera.

        Args:
            info: record of the keyframe.
            cameras: names of the cameras.
            notes: are told of a camera that has none.

        Returns:
            camera and name of the view; a camera without any is left out.
        """
        choices = []
        for camera in cameras if self else ():
            if names := self.of(info, camera):
                choices.append((camera, random.choice(names)))
            else:
                notes.append(f'{camera}: the teacher has no virtual view of {info["token"]}')
        return choices

    def _exists(self, info: Info, camera: str, name: str) -> bool:
        files = virtual_view_files(info['images'][camera]['teacher'], name)
        return (Path(self.root) / files['rgb']).is_file()


def virtual_view_names(wanted: bool, upward: bool) -> tuple[str, ...]:
    """Return the names of the virtual views to choose from.

    Args:
        wanted: the option ``virtual_img_target_smart_sample``.
        upward: the option ``enable_upward_virtual_cam``.

    Raises:
        InputError: the second without the first.
    """
    if not wanted:
        if upward:
            raise InputError('enable_upward_virtual_cam needs virtual_img_target_smart_sample=True')
        return ()
    return tuple(name for name in VIRTUAL_VIEWS if upward or name != UPWARD)
