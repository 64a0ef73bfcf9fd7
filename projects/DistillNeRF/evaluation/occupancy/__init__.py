"""Occupancy in the format of Occ3D-nuScenes: files, confusion matrix, RayIoU, grids of scenes, and their metric.

Scores of files need numpy and numba alone, ``from_scene`` torch as well, ``metric`` mmdet3d.
"""
