"""Training by epochs that goes on within an epoch."""

from __future__ import annotations

from mmdet3d.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """After a resume, passes over the samples of the epoch that were trained on already.

    The order of the samples and what is drawn for each are those of the epoch (:mod:`..datasets.draws`).
    """

    def run_epoch(self) -> None:
        """Like the base class, but for the samples that are passed over."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        for index, batch in enumerate(self.dataloader):
            if index >= done:
                self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
