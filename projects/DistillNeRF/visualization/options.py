"""Picture options: the keys of ``model`` in a config that choose what is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..utils.errors import InputError

# The words of ``model.language_query=True``.
DEFAULT_QUERY = ('road', 'building', 'vegetation', 'car')
# Other accepted spellings of keys -> key.
OTHER_SPELLINGS = {'voxel_colours': 'voxel_colors'}


@dataclass(frozen=True)
class PictureOptions:
    """Keys of ``model``; every one can be set with ``--cfg-options model.KEY=VALUE``.

    Attributes:
        visualize_imgs: rows of images, depths and errors.
        visualize_voxels: rows of voxels, maps from above, web pages and PLY files.
        visualize_foundation_model_feat: rows of rendered features (with a color head: the composited voxel features).
        language_query: words, or True for :data:`DEFAULT_QUERY`; a row of heat maps for each.
        save_visualized_imgs: also every tile as a picture of its own.
        text_encoder: encodes words as vectors (:func:`..semantics.text_encoders.text_encoder`).
        voxel_colors: ``rgb``, ``height``, ``features`` or several; none: as the network renders.
        voxel_min_density: cells of less density per meter are left out.
        vis_save_directory: folder of the pictures.
    """

    visualize_imgs: bool = False
    visualize_voxels: bool = False
    visualize_foundation_model_feat: bool = False
    language_query: tuple[str, ...] = ()
    save_visualized_imgs: bool = True
    text_encoder: str | Mapping[str, Any] | None = None
    voxel_colors: tuple[str, ...] = ()
    voxel_min_density: float = 0.5
    vis_save_directory: str | None = None

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> PictureOptions:
        """Read the options in the section ``model`` of a config; other keys are ignored.

        Raises:
            InputError: a value of the wrong kind.
        """
        given = {field.name: model.get(field.name) for field in dataclasses.fields(cls)}
        for other, name in OTHER_SPELLINGS.items():
            if given[name] is not None and model.get(other) is not None:
                raise InputError(f'model.{other} is another spelling of model.{name}; leave one of them away')
            given[name] = model.get(other) if given[name] is None else given[name]
        given = {name: value for name, value in given.items() if value is not None}
        for name in ('language_query', 'voxel_colors'):
            given[name] = _words(name, given.get(name, ()))
        for name, value in given.items():
            kind = type(getattr(cls, name)) if name not in ('text_encoder', 'vis_save_directory') else str
            if name == 'text_encoder' and isinstance(value, Mapping):
                continue
            if not isinstance(value, (int, float) if kind is float else kind):
                raise InputError(f'model.{name} is {value!r}; give {_KINDS[kind]}')
        return cls(**given)

    def directory(self, work_dir: str | Path) -> Path:
        """Return the folder where the pictures of a run go."""
        return Path(self.vis_save_directory or Path(work_dir) / 'visualization')

    @property
    def anything(self) -> bool:
        """Return whether anything is to be drawn."""
        asked = (self.visualize_imgs, self.visualize_voxels, self.visualize_foundation_model_feat, self.language_query)
        return any(asked)

    def check_use(self) -> None:
        """Check that every option takes effect.

        Raises:
            InputError: options of pictures that are not asked for.
        """
        usual = PictureOptions()
        for name in ('voxel_colors', 'voxel_min_density'):
            if getattr(self, name) != getattr(usual, name) and not self.visualize_voxels:
                raise InputError(f'model.{name} does nothing without model.visualize_voxels=True; add it, or leave it')


_KINDS = {bool: 'True or False', float: 'a number', str: 'a text', tuple: 'words'}


def _words(name: str, value: Any) -> tuple[str, ...]:
    """Return the words of a value.

    Raises:
        InputError: a switch where there is none, or an empty query.
    """
    if isinstance(value, bool):
        if value and name == 'voxel_colors':
            raise InputError('model.voxel_colors is True; give rgb, height, features or several of them')
        return DEFAULT_QUERY if value else ()
    words = [' '.join(str(word).split()) for word in ([value] if isinstance(value, str) else value)]
    if name == 'voxel_colors':
        return tuple(word.replace(' ', '_') for word in words)
    if not all(words):
        raise InputError(f'model.{name} is {value!r}, which has an empty query; give words, such as road,car')
    return tuple(words)
