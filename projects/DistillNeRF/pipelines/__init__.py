"""Transforms: they load what the dataset chose and pack it into ``Views``. Importing registers them with mmdet3d."""

from .augmentation import FlipViews, ZoomViews
from .class_codes import CodeBookFeatures, LidarCodeBookFeatures
from .depth_features import LoadDepthFeatures
from .images import LoadViews
from .lidar import LoadLidarDepth
from .lidar_depth import SkyFromLidar
from .maps import LoadFeatures, LoadTeacher, LoadTruth
from .pack import PackViews

__all__ = [
    'CodeBookFeatures',
    'FlipViews',
    'LidarCodeBookFeatures',
    'LoadDepthFeatures',
    'LoadFeatures',
    'LoadLidarDepth',
    'LoadTeacher',
    'LoadTruth',
    'LoadViews',
    'PackViews',
    'SkyFromLidar',
    'ZoomViews',
]
