"""DistillNeRF: one glance of several calibrated cameras in, a renderable sparse voxel scene out.

Importing this package registers nothing and needs nothing but torch and numpy. Configs register the
OpenMMLab side with ``custom_imports = dict(imports=['projects.DistillNeRF.register'])``.
"""

from .aliases import install

install()
