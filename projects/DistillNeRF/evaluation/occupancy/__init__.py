"""Occupancy in the format of Occ3D-nuScenes: files, confusion matrix, RayIoU; needs numpy and numba alone."""
