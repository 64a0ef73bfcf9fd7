"""Register everything with mmdet3d: importing this module is the one entry of ``custom_imports`` in configs."""

from .utils.mmcv_ext import ensure_mmcv_ext
from .utils.mmengine_checkpoints import allow_mmengine_checkpoints

# Both before anything of mmdet3d is imported or loaded.
ensure_mmcv_ext()
allow_mmengine_checkpoints()

from .utils.mmdet3d_registries import import_mmdet3d_on_demand  # noqa: E402

import_mmdet3d_on_demand()

from . import pipelines  # noqa: E402, F401
from .datasets import dataset  # noqa: E402, F401
from .engine import runner as amp  # noqa: E402, F401
from .engine import true_views  # noqa: E402, F401
from .evaluation import feature_metrics  # noqa: E402, F401
from .evaluation import metrics as depth_metric  # noqa: E402, F401
from .evaluation.occupancy import metric as occupancy_metric  # noqa: E402, F401
from .evaluation.protocols import metrics as protocol_metrics  # noqa: E402, F401
from .hooks import data_for_model_hook, first_pictures_hook, panel_hook, progress_hook  # noqa: E402, F401
from .losses import modules as registered  # noqa: E402, F401
from .models import wrapper  # noqa: E402, F401
from .scene_nerf import model as scene_nerf  # noqa: E402, F401
from .scene_nerf import pose_hook  # noqa: E402, F401
