"""Current images, warped into other views by their true depth: the most of the colors that can be carried over."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from ..evaluation.baselines import Guess, moved_views
from ..evaluation.depth import average
from ..evaluation.guesses import whole_groups
from ..evaluation.image import psnr
from ..evaluation.report import key
from ..geometry.views import Views
from ..scene_nerf.warping import Sources, Warping, warp_colors
from ..utils.errors import warn

NAME, VISIBLE, SHARE = 'warped', 'warped_visible', 'share'
# Images of one instant of one rig: nothing to adjust.
HOW = Warping(exposure=False, align=False)


class WarpedImages:
    """The baselines ``warped``, and ``warped_visible`` of its pixels that are seen in an input image.

    A pixel of a target view is where its true depth says; it has the colors of the input images whose own true depth
    says the same of that place. The pixels of no input image are filled from the nearest one that is of some. What
    moves is where it is in the target, so it is not seen there.
    """

    def __init__(self) -> None:
        self._figures: list[dict[str, float]] = []
        self._views = self._unknown = 0

    def guess(self, inputs: Views, targets: Views, about: Mapping[str, Any]) -> Guess | None:
        """Warp the input images of a sample into its moved target views; None if the depth of none is known."""
        positions = moved_views(inputs, targets, about)
        known = [position for position in positions if _is_known(targets, position)] if _sources(inputs) else []
        self._views += len(positions)
        self._unknown += len(positions) - len(known)
        if not known:
            return None
        images, seen = warp_views(inputs, targets[known])
        self._measure(images, seen, known, inputs, targets, about)
        filled = torch.stack([fill(*pair, inputs.images) for pair in zip(images, seen, strict=True)])
        return Guess(NAME, known, filled)

    def _measure(
        self, images: Tensor, seen: Tensor, known: list[int], inputs: Views, targets: Views, about: Mapping[str, Any]
    ) -> None:
        """Note the PSNR of the pixels that are seen, and their share, in each group of views."""
        sample = whole_groups(known, inputs, targets, about, 'colors')
        if sample is None:
            return
        images, seen, views = images[sample['kept']], seen[sample['kept']], sample['target_views']
        for group, units in sample['protocol']['colors'].items():
            for unit in units:
                mask = seen[unit]
                figures = {key(VISIBLE, group, SHARE): mask.float().mean().item()}
                if mask.any():
                    pair = (part[unit].movedim(1, -1)[mask] for part in (images, views.images))
                    figures[key(VISIBLE, group, 'psnr')] = psnr(*pair)
                self._figures.append(figures)

    def figures(self, where: str) -> dict[str, float]:
        """Return the figures of the pixels that are seen; warn of views without depth.

        Args:
            where: the config, for messages.
        """
        if self._unknown:
            warn(
                f'{where}: {self._unknown} of {self._views} novel views, or their input views, have no true depth '
                f'(LiDAR and teacher do not know every pixel): the baseline {NAME} leaves their groups out'
            )
        return average(self._figures)


def _sources(views: Views) -> list[int]:
    """Return the positions of the views whose true depth is known."""
    return [position for position in range(len(views)) if _is_known(views, position)]


def _is_known(views: Views, position: int) -> bool:
    return views.true_depth is not None and bool(views.true_depth[position].isfinite().any())


def warp_views(inputs: Views, targets: Views) -> tuple[Tensor, Tensor]:
    """Look up the pixels of views in input images by true depth, which is infinite in the sky.

    Args:
        inputs: the images; those without true depth are not used.
        targets: the views; their true depth is known.

    Returns:
        images ``(V, 3, H, W)``, NaN where no input image shows the place, and ``(V, H, W)`` bool where one does.
    """
    inputs = inputs[_sources(inputs)]
    near, far = (views.true_depth.nan_to_num(nan=torch.inf, posinf=torch.inf) for views in (inputs, targets))
    sources = Sources(
        cameras=inputs.cameras,
        image=inputs.images,
        depth=near,
        seconds=torch.zeros(len(inputs), device=near.device),
        same_camera=torch.zeros(len(inputs), dtype=torch.bool, device=near.device),
    )
    images, seen = [], []
    for position, name in enumerate(targets.names):
        same = torch.tensor([other == name for other in inputs.names], device=near.device)
        those = dataclasses.replace(sources, same_camera=same)
        warped = warp_colors(targets.cameras[[position]], far[[position]], those, how=HOW)
        images.append(warped.image[0])
        seen.append(warped.confidence[0] > 0)
    return torch.stack(images), torch.stack(seen)


def fill(image: Tensor, seen: Tensor, others: Tensor) -> Tensor:
    """Return an image ``(3, H, W)`` whose unseen pixels have the color of the nearest seen one.

    Args:
        image: it.
        seen: ``(H, W)`` bool.
        others: ``(S, 3, H, W)`` images whose mean color fills one of which nothing is seen.
    """
    if not seen.any():
        return others.mean((0, 2, 3))[:, None, None].expand_as(image)
    rows, columns = distance_transform_edt(~seen.cpu().numpy(), return_distances=False, return_indices=True)
    return image[:, torch.from_numpy(rows.astype(np.int64)), torch.from_numpy(columns.astype(np.int64))]


def share_lines(figures: Mapping[str, float]) -> list[str]:
    """Say how much of the views is seen in input images, for what is printed below a table."""
    shares = {name: value for name, value in figures.items() if name.endswith(f'/{SHARE}')}
    return [
        f'{VISIBLE}: {value:.1%} of the pixels of {name.split("/")[1:-1][0] if name.count("/") > 1 else "the views"} '
        'are seen in an input image; its PSNR is of these alone'
        for name, value in shares.items()
    ]
