"""The published network on Waymo: three cameras, 144x216 in, 72x108 rendered. The same settings as ``model``."""

_base_ = './model.py'
