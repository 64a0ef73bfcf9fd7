"""The published network on Waymo in nearly linear space. The same settings as ``model_linearspace``."""

_base_ = './model_linearspace.py'
