"""What makes a network of any size the successor (docs/SUCCESSOR.md); models add it to their own sizes.

A model inherits from this file beside that of its size, and takes the network's options as ``_base_._successor``.
"""

_successor = dict(
    # Without these two, rays pass through far surfaces.
    rows_per_pixel=3,
    sampling=dict(mean_density=True),
    coarse=dict(distribution='softmax'),
    source_blend=dict(count=2, channels=24),
)
