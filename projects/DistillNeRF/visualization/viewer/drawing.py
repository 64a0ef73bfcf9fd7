"""Draw camera frusta and occupied cells in the browser's scene."""

from __future__ import annotations

import numpy as np
from viser import SceneApi, SceneNodeHandle

from ...utils.files import file_stems
from ..voxels import ColoredCells
from .scenes import Viewed
from .viewpoints import Viewpoint

FRUSTA, CELLS, FOUND = '/cameras', '/cells', '/found'
FRUSTUM_COLOR = (255, 140, 0)
# Length of a frustum, and the browser's near plane, meters. The near plane is behind the frustum of a camera at whose
# position the viewer stands, and before the rendered picture, which the browser puts 1 m ahead.
FRUSTUM_DEPTH, NEAR_PLANE = 0.8, 0.9
POINTS, BOXES = SHAPES = ('points', 'boxes')
POINT_SIZE = 0.15
AMBIENT, SUN = 2.0, 1.2
# A cube of edge 1 around the origin, seen from outside.
CUBE = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)], np.float32)
SIDES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]], np.uint32)
TRIANGLES = np.concatenate([SIDES[:, [0, 1, 2]], SIDES[:, [0, 2, 3]]])


def set_light(scene: SceneApi) -> None:
    """Set a light under which boxes have their own colors, and tops are brighter than sides."""
    scene.configure_default_lights(enabled=False)
    scene.configure_environment_map(hdri=None)
    scene.add_light_ambient('/ambient', intensity=AMBIENT)
    scene.add_light_directional('/sun', intensity=SUN, position=(1.0, -2.0, 4.0))


def draw_frusta(scene: SceneApi, viewed: Viewed) -> None:
    """Draw the cameras with their images, under :data:`FRUSTA`; none where no images are known."""
    scene.remove_by_name(FRUSTA)
    scene.add_frame(FRUSTA, show_axes=False)
    if viewed.images is None:
        return
    # Slashes would make branches of the scene's tree.
    for index, (name, image) in enumerate(zip(file_stems(viewed.names), viewed.images, strict=True)):
        view = Viewpoint.of_cameras(viewed.cameras, index)
        scene.add_camera_frustum(
            f'{FRUSTA}/{name}',
            fov=view.fov,
            aspect=view.aspect,
            scale=_frustum_scale(view),
            color=FRUSTUM_COLOR,
            image=image,
            wxyz=view.wxyz,
            position=view.position,
        )


def _frustum_scale(view: Viewpoint) -> float:
    """Return the scale at which viser draws a frustum of :data:`FRUSTUM_DEPTH`.

    Its own depth is 1 over the cube root of the volume.
    """
    half = np.tan(view.fov / 2)
    return FRUSTUM_DEPTH * float(np.cbrt(half * half * view.aspect / 3))


def draw_cells(scene: SceneApi, cells: ColoredCells, shape: str, visible: bool, name: str = CELLS) -> SceneNodeHandle:
    """Draw the cells as one of :data:`SHAPES`, under a name."""
    corners = cells.cells.corners.cpu().numpy()
    lower, upper = corners[:, 0], corners[:, -1]
    if shape == POINTS:
        return scene.add_point_cloud(
            name,
            cells.cells.centers.cpu().numpy(),
            cells.colors,
            point_size=POINT_SIZE,
            precision='float32',
            point_shading='flat',
            visible=visible,
        )
    count = len(corners)
    return scene.add_batched_meshes_simple(
        name,
        CUBE,
        TRIANGLES,
        batched_wxyzs=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        batched_positions=(lower + upper) / 2,
        batched_scales=upper - lower,
        batched_colors=_linear(cells.colors),
        lod='off',
        flat_shading=True,
        cast_shadow=False,
        receive_shadow=False,
        visible=visible,
    )


def _linear(colors: np.ndarray) -> np.ndarray:
    """Convert sRGB to linear, both uint8: the browser takes colors of boxes (not those of points) to be linear."""
    shares = colors / 255.0
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return (linear * 255).round().astype(np.uint8)
