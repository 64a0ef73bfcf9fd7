"""What the training targets of an entry point are."""

from __future__ import annotations

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.engine.builders import build_dataset
from tests.helpers.data import ROOT


def assert_one_new_view_each(name: str, cameras: int) -> None:
    """Assert that targets are the inputs and, for each camera, a view of another frame or of a shifted camera.

    Args:
        name: of an entry point whose data is there; mirrored samples are left out.
        cameras: how many there are.
    """
    path = ROOT / f'projects/DistillNeRF/configs/model_wrapper/{name}.py'
    config = load_config(path, {'train_dataloader.dataset.pipeline.5.probability': 0.0})
    dataset, kinds = build_dataset(config, 'train'), set()
    for _ in range(3):
        views = dataset[1]['inputs']['target_views']
        assert len(views) == 2 * cameras and views.frames[cameras:] == (0,) * cameras
        assert views.lidar_depth is not None and views.teacher_depth is not None
        kinds |= {'frame' if frame else 'shifted' for frame in views.frames[:cameras]}
    assert kinds == {'frame', 'shifted'}
