"""What a loss is computed on.

A loss class says so in its attribute ``compares``, one of :data:`SUBJECTS`; the objective then calls ``forward`` with
what the subject gives. The loss may have any name in ``model.losses``, and any file may register its class:

.. code-block:: python

    @MODELS.register_module()
    class ImageL2Loss(nn.Module):
        compares = 'image'

        def forward(self, estimate, target):
            return (estimate - target).square().mean()

A class that serves several subjects leaves ``compares`` at ``None``, and the config chooses one:
``dict(type='DepthClampLoss', compares='teacher_depth')``. The names of :data:`NAMES` say it themselves.
"""

from __future__ import annotations

SUBJECTS = {
    'image': 'rendered images and images of the target views, (V, 3, H, W) in [0, 1]',
    'line_of_sight': 'weights and depths of the samples (V, samples, h, w), LiDAR depth (V, h, w), iteration',
    'features': 'rendered features and teacher features, (V, C, h, w)',
    'density': 'densities per meter at points that the teacher sees through (P,) and at its surfaces (Q,)',
    'lidar_density': 'the same of what LiDAR sees through, and of its returns',
    'lidar_depth': 'predicted depth and LiDAR depth, (V, h, w), NaN where unknown',
    'lidar_depth_edges': 'the same and the iteration',
    'teacher_depth': 'predicted depth and teacher depth, (V, h, w), NaN where unknown',
    'teacher_depth_edges': 'the same and the iteration',
    'lidar_bins': 'weights of the depth bins (V, D, h, w), edges (V, D + 1), LiDAR depth (V, h_t, w_t), not resized',
    'teacher_bins': 'the same with teacher depth',
    'weights': 'rendering weights (V, samples, h, w), coarse and rendered',
    'all_weights': 'rendering weights (V, samples, h, w), coarse, fine and rendered',
}
"""Subject -> the arguments of ``forward``, which returns a scalar.

Depth is the distance along the ray in meters. Depth, weights and line of sight are compared twice: the coarse
estimate of the input views (logged as ``loss_NAME_coarse``), and what is rendered for the target views
(``loss_NAME``); weights of bins are those of the coarse estimate alone. Where teacher features are unknown, the target
is the estimate itself, and the loss is scaled to a mean over the known pixels. A loss of density may have attributes
``margin``, meters before a surface that are not free, and ``behind``, meters behind it that are surface, too.
"""

NAMES = {
    'rgb': 'image',
    'lpips': 'image',
    'dssim': 'image',
    'line_of_sight': 'line_of_sight',
    'features': 'features',
    'density': 'density',
    'lidar_density': 'lidar_density',
    'lidar_depth': 'lidar_depth',
    'lidar_depth_edges': 'lidar_depth_edges',
    'teacher_depth': 'teacher_depth',
    'teacher_depth_edges': 'teacher_depth_edges',
    'lidar_bins': 'lidar_bins',
    'teacher_bins': 'teacher_bins',
    'weight_entropy': 'weights',
    'opacity': 'all_weights',
}
"""Names in ``model.losses`` that say what is compared, whatever the class, in the order of the log."""

STAGES = ('_coarse', '_fine', '_voxels')
"""Ends of the log's names; no other name of a loss ends so."""

HINT = f'give its class the attribute compares, or its config the key compares: one of {", ".join(SUBJECTS)}'


def subject_of(name: str, loss: object) -> str | None:
    """Return what a loss is computed on; ``None`` if neither its name nor ``compares`` says a known subject.

    Args:
        name: key in ``model.losses``.
        loss: the loss or its class.
    """
    subject = NAMES.get(name, getattr(loss, 'compares', None))
    return subject if isinstance(subject, str) and subject in SUBJECTS else None


def log_order(name: str) -> int:
    """Return a sort key: the losses of :data:`NAMES` in their order, all others after them."""
    names = list(NAMES)
    return names.index(name) if name in NAMES else len(names)
