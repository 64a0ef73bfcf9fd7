"""One dataset class over one info format. Importing this package registers it with mmdet3d."""

from .dataset import DistillNeRFDataset
from .draws import DrawBatchSampler

__all__ = ['DistillNeRFDataset', 'DrawBatchSampler']
