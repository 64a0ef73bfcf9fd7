"""Cameras, views, poses and the spaces that points live in; torch and numpy, no mm*."""
