"""The successor of the published network (docs/SUCCESSOR.md), at its sizes, without the oddities of its code.

Its pyramid of coarse depth stays as wide as it is, 64, and reads the frozen depth network.
"""

_base_ = ['./model.py', './successor_options.py']

model = dict(
    network=dict(
        _base_._successor,
        # Edges 6 % apart. Nothing is nearer than half a meter but the car itself.
        depth_bins=dict(number=96, near=0.5, far=120.0),
        fine=dict(first_candidate=None),
        published_quirks=False,
    ),
    # As much beside that of colors as in the small network, whose weight of colors is 5.
    losses=dict(teacher_bins=dict(type='DepthBinsLoss', loss_weight=0.2)),
)
