"""What each command reads of a config, and a warning for options that it does not read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..utils.errors import warn
from ..visualization.options import OTHER_SPELLINGS, PictureOptions
from .layers import is_within, overlap
from .suggestions import arguments

# Commands that take the network and the test data from a config.
DATA_AND_NETWORK = ('model.network', 'model.num_camera', 'test_dataloader.dataset', 'data_root', 'custom_imports')
# Commands that run the test loop.
RUN_BY_TESTS = (
    *('model', 'test_dataloader', 'data_root', 'default_hooks', 'custom_hooks', 'visualizer', 'log_processor'),
    *('log_level', 'env_cfg', 'randomness', 'experiment_name', 'default_scope', 'custom_imports', 'compile'),
)
# Keys of a model that say what is to be drawn.
PICTURES = tuple(f'model.{name}' for name in (*arguments(PictureOptions), *OTHER_SPELLINGS))


def warn_of_unread(options: Mapping[str, Any] | None, reads: Sequence[str], but: Sequence[str] = ()) -> None:
    """Warn of options of the command line that the command has no use for.

    Args:
        options: as given.
        reads: dotted keys of what the command reads.
        but: keys within those that it does not read.
    """
    idle = [
        option
        for option in options or ()
        if not any(overlap(option, key) for key in reads) or any(is_within(option, key) for key in but)
    ]
    if idle:
        warn(f'{", ".join(idle)}: this command does not read that; leave it away')
