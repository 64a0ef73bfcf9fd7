"""The successor of the small network (docs/SUCCESSOR.md)."""

_base_ = './small.py'

model = dict(network=dict(source_blend=dict(count=2, channels=24)))
