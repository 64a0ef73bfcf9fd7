"""Draw voxels as rows of a panel, maps from above, a web page and PLY files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..geometry.views import Views
from ..models.ply import write_ply
from .box_pictures import BoxPictures, annotate_map
from .panel_layout import PanelRow, tiles_by_camera, write_png
from .panels import TILE_WIDTH, ring_order
from .voxel_page import write_page
from .voxels import ColoredCells

# Pixels of a map from above, and how far it reaches at most, meters.
MAP_SIZE, MAP_REACH = 1000, 50.0


class VoxelPictures:
    """Draw the cells of a scene in one coloring.

    Args:
        coloring: name of the coloring.
        levels: cells of both levels.
        views: the input views, whose cameras look at the cells.
        inner_range: inner range of the scene's space, meters.
    """

    def __init__(self, coloring: str, levels: Sequence[ColoredCells], views: Views, inner_range: float) -> None:
        self.coloring, self.levels, self.views = coloring, levels, views
        self.reach = min(inner_range, MAP_REACH)
        self._drawn = [BoxPictures(level.cells.corners.cpu().numpy(), level.colors) for level in levels]

    def rows(self) -> list[PanelRow]:
        """Draw a row per level: the cells as the input cameras see them."""
        cameras = self.views.cameras
        scale = -(-TILE_WIDTH // cameras.width)
        size = (cameras.height * scale, cameras.width * scale)
        return [
            PanelRow(
                f'{level.level}\nvoxels\n{self.coloring}',
                tiles_by_camera(self.views, boxes.from_cameras(cameras, *size)),
            )
            for level, boxes in zip(self.levels, self._drawn, strict=True)
        ]

    def write(self, directory: Path, title: str) -> list[Path]:
        """Write maps, PLY files and the web page of all cells; return the files."""
        files = []
        for level, boxes in zip(self.levels, self._drawn, strict=True):
            name = f'{level.level}_{self.coloring}'
            above = boxes.from_above(self.reach, MAP_SIZE)
            files += [directory / f'{name}_above.png', directory / f'{name}.ply']
            write_png(files[-2], annotate_map(above, self.reach, f'{title} {level.level} voxels, {self.coloring}'))
            write_ply(files[-1], level.cells, level.colors)
        files.append(directory / f'{self.coloring}.html')
        order = ring_order(self.views.cameras)
        names = [self.views.names[i] for i in order]
        left_out = write_page(files[-1], self.levels, self.views.cameras[order], names, f'{title} {self.coloring}')
        if left_out:
            print(f'{files[-1]}: {left_out} of the farthest cells are left out; the PLY files hold them all')
        return files
