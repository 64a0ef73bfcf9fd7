"""Transforms: they load what the dataset chose and pack it into ``Views``. Importing registers them with mmdet3d."""

from .code_book import CodeBookFeatures, LidarCodeBookFeatures
from .flip import FlipViews
from .images import LoadViews
from .lidar import LoadLidarDepth
from .lidar_sky import SkyFromLidar
from .maps import LoadFeatures, LoadTeacher, LoadTruth
from .pack import PackViews

__all__ = [
    'CodeBookFeatures',
    'FlipViews',
    'LidarCodeBookFeatures',
    'LoadFeatures',
    'LoadLidarDepth',
    'LoadTeacher',
    'LoadTruth',
    'LoadViews',
    'PackViews',
    'SkyFromLidar',
]
