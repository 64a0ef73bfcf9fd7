"""Import this module and everything of DistillNeRF is registered with mmdet3d: the one line of ``custom_imports``."""

from .mmcv_ext import ensure_mmcv_ext

ensure_mmcv_ext()

from . import datasets, pipelines  # noqa: E402

__all__ = ['datasets', 'pipelines']
