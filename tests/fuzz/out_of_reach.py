"""Changes that no check can notice, since the result is as likely as what was there; they may be silent."""

from __future__ import annotations

import re
from typing import NamedTuple


class OutOfReach(NamedTuple):
    """Regular expressions for entrance, file, field, operation; and why."""

    entrance: str
    file: str
    field: str
    operation: str
    reason: str


TABLE = (
    OutOfReach('own images', 'cameras', r'\.name$', 'truncated|wrong shape', 'names of own cameras are free'),
    OutOfReach('own images', 'cameras', r'\.f[xy]$', 'swapped', 'pixels are nearly square: fx and fy differ by 2 %'),
    OutOfReach(
        'own images',
        'cameras',
        r'distortion(\.coefficients|\.model)?$',
        'removed|empty',
        'most own images have no distortion left',
    ),
    OutOfReach('own images', 'cameras', r'coefficients$', 'swapped', 'coefficients of a lens may have any small value'),
    OutOfReach('pandaset', 'intrinsics', '^f[xy]$', 'swapped', 'pixels are nearly square: fx and fy differ by 2 %'),
    OutOfReach(
        '', r'\.bin$', '^$', 'wrong shape', 'a file of points says nowhere how many there are, of how many numbers'
    ),
    OutOfReach('mmdet3d|loader', '', 'velocity$', 'NaN|removed|empty', 'velocities may be unknown'),
    OutOfReach(
        'loader',
        '',
        r'lidar_sweeps(\.\*)?$',
        'removed|empty|truncated|duplicated|swapped',
        'a keyframe may have any sweeps',
    ),
    OutOfReach(
        'loader',
        '',
        r'image_sweeps(\.\w+(\.\*)?)?$',
        'removed|empty|truncated',
        'any images may lie between keyframes',
    ),
    OutOfReach(
        'mmdet3d|loader',
        '',
        r'instances(\.\*(\.bbox_3d(\.\*)?|\.bbox_label|\.velocity)?)?$',
        'removed|empty|truncated|swapped|duplicated',
        'a street may hold any boxes, and info files do not say which belong together',
    ),
    OutOfReach(
        'loader|mmdet3d',
        '',
        r'sweeps\.\*\.lidar_p',
        'swapped|duplicated',
        'which of two files of points belongs to a pose',
    ),
    OutOfReach('mmdet3d', '', r'^data_list(\.\*)?$', 'removed|truncated', 'a pickle may hold any samples'),
    OutOfReach('nuscenes', 'calibrated_sensor', 'translation$', 'swapped|duplicated', 'cameras are 0.5 m apart'),
    OutOfReach('loader', '', r'timestamp$', 'swapped|duplicated', 'images of a keyframe are 0.2 s apart'),
    OutOfReach('nuscenes', 'ego_pose', r'^\*(\.token)?$', 'swapped', 'the pose of a neighbor is a meter off'),
    OutOfReach('nuscenes', '/sample_data', 'ego_pose_token', 'swapped|duplicated', 'the pose of a neighbor'),
    OutOfReach('pandaset', 'classes', '', 'swapped', 'the numbers of classes are what their file says'),
    OutOfReach(
        'pandaset|nuscenes|mmdet3d',
        'poses|ego_pose|pkl',
        r'^\*$|position|heading|translation|rotation|ego2global|lidar2ego|lidar2cam|cam2ego',
        'swapped|duplicated',
        'the pose of a neighbor frame is a meter or four degrees off',
    ),
    OutOfReach(
        'waymo',
        '',
        r'metadata(\.speed_[xy])?$',
        'NaN|removed|empty|swapped|duplicated|wrong shape',
        'velocities may be unknown',
    ),
    OutOfReach(
        'waymo',
        '',
        r'laser_labels(\.\*)?$',
        'removed|empty|truncated|swapped|duplicated|wrong shape',
        'a street may hold any boxes',
    ),
    OutOfReach('waymo', '', r'laser_labels\.\*\.(box(\.\w+)?|type)$', 'swapped|duplicated', 'or of any shape'),
    OutOfReach('waymo', '', r'^(\*)?$', 'removed|truncated', 'a segment may have any frames'),
    OutOfReach(
        'waymo',
        '',
        r'^\*\.(lasers|images)|pose|extrinsic|transform|timestamp',
        'swapped|duplicated',
        'what a neighbor frame measured, or the next camera, is as likely',
    ),
    OutOfReach('checkpoint', '', r'weight$|bias$', 'swapped|duplicated', 'weights of one shape may be either'),
)


def out_of_reach(entrance: str, name: str, field: str, operation: str) -> str | None:
    """Why a change cannot be noticed; None if it can."""
    for rule in TABLE:
        asked = zip(rule[:4], (entrance, name, field, operation), strict=True)
        if all(re.search(pattern, text) for pattern, text in asked):
            return rule.reason
    return None
