"""One dataset class over one info format. Importing this package registers it with mmdet3d."""

from .dataset import DistillNeRFDataset

__all__ = ['DistillNeRFDataset']
