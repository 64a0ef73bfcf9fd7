"""Which fields have a unit, and by what factor a wrong one is off."""

from __future__ import annotations

import math
import random
import re

MILLIMETERS, DEGREES = 1000.0, 180 / math.pi
# Of a sensor with pixels of 6 um: focal lengths in millimeters.
FOCAL = 0.006

# (entrance, file, field) as regular expressions -> factors to choose from.
UNITS = (
    ('nuscenes', r'/(sample|sample_data|ego_pose)\.json', r'timestamp$', (1e-6, 1e-3, 1e3)),
    ('nuscenes', r'/(calibrated_sensor|ego_pose|sample_annotation)\.json', r'translation$', (MILLIMETERS,)),
    ('nuscenes', r'/sample_annotation\.json', r'size$', (MILLIMETERS,)),
    ('nuscenes', r'', r'rotation$', (DEGREES,)),
    ('nuscenes', r'', r'camera_intrinsic$', (FOCAL,)),
    ('nuscenes|loader|cache', r'\.bin$', r'^$', (MILLIMETERS,)),
    ('mmdet3d', r'', r'timestamp$', (1e6, 1e3, 1e9)),
    ('mmdet3d|loader', r'\.pkl$', r'(2global|2ego|2cam|2sensor)$', (MILLIMETERS,)),
    ('mmdet3d|loader', r'\.pkl$', r'cam2img$', (FOCAL,)),
    ('mmdet3d|loader', r'\.pkl$', r'bbox_3d$', (MILLIMETERS,)),
    ('loader', r'', r'timestamp$', (1e6, 1e3, 1e9)),
    ('loader', r'depth.*\.npy$', r'^$', (MILLIMETERS,)),
    ('loader', r'mask.*\.npy$', r'^$', (255.0,)),
    ('pandaset', r'timestamps\.json', r'', (1e6, 1e3)),
    ('pandaset', r'poses\.json', r'position\.[xyz]$', (MILLIMETERS,)),
    ('pandaset', r'poses\.json', r'heading\.[wxyz]$', (DEGREES,)),
    ('pandaset', r'intrinsics\.json', r'', (FOCAL,)),
    ('pandaset', r'lidar/#?\d*\.pkl\.gz', r'^[xyz]$', (MILLIMETERS,)),
    ('pandaset', r'cuboids', r'^(position|dimensions)\.[xyz]$', (MILLIMETERS,)),
    ('pandaset', r'cuboids', r'^yaw$', (DEGREES,)),
    ('waymo', r'', r'timestamp_micros$|pose_timestamp$', (1e-6, 1e-3, 1e3)),
    ('waymo', r'', r'transform$', (MILLIMETERS,)),
    ('waymo', r'', r'range_image_compressed\.data$', (MILLIMETERS,)),
    ('waymo', r'', r'range_image_pose_compressed\.data$', (DEGREES,)),
    ('waymo', r'', r'beam_inclination', (DEGREES,)),
    ('waymo', r'', r'camera_calibrations\.\*\.intrinsic$', (FOCAL,)),
    ('waymo', r'', r'laser_labels\.\*\.box\.', (MILLIMETERS,)),
    ('own images', r'', r'\.f[xy]$', (FOCAL,)),
    ('own images', r'', r'cam2vehicle$', (MILLIMETERS,)),
    ('own images', r'', r'origin_height$', (MILLIMETERS,)),
)


def factors(entrance: str, name: str, field: str, rng: random.Random) -> float | None:
    """By what a value is multiplied; None if it has no unit."""
    for of, file, key, choices in UNITS:
        if re.fullmatch(of, entrance) and re.search(file, name) and re.search(key, field):
            return rng.choice(choices)
    return None
