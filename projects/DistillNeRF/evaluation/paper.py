"""Figures of the DistillNeRF paper (Wang et al., NeurIPS 2024) by config: all that is known of them has its home here.

nuScenes figures are of the validation split, 114x228, the second keyframe of each scene, ``next`` of the keyframe after
it; depth is against LiDAR. "+ depth" is the network in linear space with depth distillation, then come parameterized
space and virtual cameras. Depth of parameterized space without virtual cameras was not published. Occupancy is that of
the whole system on Occ3D-nuScenes, features are those of the networks in linear space. Waymo: fine-tuned on NOTR; and
zero-shot, by a network that saw nuScenes alone, as it is and recolored, by the published fit
(docs/EVALUATION.md#recolored-images).
"""

from __future__ import annotations

from pathlib import Path

_ERRORS = ('abs_rel', 'sq_rel', 'rmse', 'rmse_log', 'a1', 'a2', 'a3')


def _images(psnr: float, ssim: float, next_psnr: float, next_ssim: float) -> dict[str, float]:
    return {'psnr': psnr, 'ssim': ssim, 'next/psnr': next_psnr, 'next/ssim': next_ssim}


def _lidar(*errors: float) -> dict[str, float]:
    return {f'lidar/{name}': value for name, value in zip(_ERRORS, errors, strict=True)}


_PLAIN = _images(28.01, 0.872, 19.12, 0.501) | _lidar(0.248, 3.090, 6.096, 0.312, 0.704, 0.885, 0.947)
# Name of a config -> figure, as in our tables -> value.
PAPER: dict[str, dict[str, float]] = {
    # Both spellings of the config.
    'model_wrapper_linearspace_no_depth_distilll': _PLAIN,
    'model_wrapper_linearspace_no_depth_distill': _PLAIN,
    'model_wrapper_linearspace': {
        **_images(30.11, 0.917, 20.27, 0.567),
        **_lidar(0.233, 2.890, 5.890, 0.296, 0.703, 0.881, 0.945),
    },
    'model_wrapper': _images(28.42, 0.879, 20.06, 0.565),
    'model_wrapper_virtual_cam': {
        **_images(28.72, 0.880, 20.78, 0.590),
        **_lidar(0.223, 1.776, 5.461, 0.293, 0.763, 0.903, 0.961),
        **{'occupancy/miou': 0.0893, 'occupancy/foreground_miou': 0.0640, 'occupancy/iou': 0.2911},
    },
    'model_wrapper_linearspace_clip': {'feature/psnr': 18.69},
    'model_wrapper_linearspace_dino': {'feature/psnr': 18.48},
    'model_wrapper_waymo': {'psnr': 29.84, 'ssim': 0.911},
}

# The same of networks that were not trained on the data of the config.
ZERO_SHOT: dict[str, dict[str, float]] = {
    'model_wrapper_waymo': {'psnr': 21.03, 'ssim': 0.841, 'psnr_recolored': 24.85, 'ssim_recolored': 0.867},
}


def paper_columns(config: str | Path, recolored: bool = False) -> dict[str, dict[str, float]]:
    """Return the columns of the paper in a table of a config: name -> figures; those that have some.

    Args:
        config: its file.
        recolored: whether our images are recolored by the published fit, with which alone recolored figures compare.
    """
    found = {'paper': paper_figures(config), 'paper zero-shot': ZERO_SHOT.get(Path(config).stem, {})}
    return {
        column: {name: value for name, value in figures.items() if recolored or not name.endswith('_recolored')}
        for column, figures in found.items()
        if figures
    }


def paper_figures(config: str | Path) -> dict[str, float]:
    """Return what the paper reports for a config file, by the names of our figures; empty if it has nothing."""
    return dict(PAPER.get(Path(config).stem, {}))
