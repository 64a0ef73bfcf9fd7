"""The history of logged values, bounded: mmengine keeps a million per name and writes all of them to checkpoints."""

from __future__ import annotations

from collections import OrderedDict

from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import LogProcessor

# More iterations than a validation of nuScenes has: the log ends with the mean time over all of them.
LENGTH = 10_000


class BoundedScalars(OrderedDict):
    """Histories by name that keep their last values alone, also those that come from a checkpoint.

    Args:
        length: how many values each keeps.
    """

    def __init__(self, length: int = LENGTH) -> None:
        super().__init__()
        self.length = length

    def __setitem__(self, name: str, history: HistoryBuffer) -> None:
        """Bound a history and keep it."""
        values, counts = history.data
        bounded = HistoryBuffer(values[-self.length :], counts[-self.length :], max_length=self.length)
        super().__setitem__(name, bounded)


def bound_history(hub: MessageHub, log_processor: LogProcessor) -> None:
    """Let a message hub keep as many values as any window of the log is long; as mmengine does if one has no length."""
    windows = [log_processor.window_size, *(entry.get('window_size', 1) for entry in log_processor.custom_cfg)]
    if not all(isinstance(window, int) for window in windows):
        return
    scalars = BoundedScalars(max(LENGTH, *windows))
    for name, history in hub.log_scalars.items():
        scalars[name] = history
    hub._log_scalars = scalars
