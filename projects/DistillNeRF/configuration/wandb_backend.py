"""Weights & Biases, checked before the training begins."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from typing import Any

from mmdet3d.registry import VISBACKENDS
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.visualization.vis_backend import WandbVisBackend

from ..utils.errors import InputError, warn

MODES = ('online', 'offline', 'auto')
USUAL_SERVER = 'https://api.wandb.ai'
# Seconds that the server may take to answer, and to begin a run.
ANSWER_TIMEOUT, INIT_TIMEOUT = 10, 30
# What keys look like: a prefix that servers of one's own may add, and at least 40 letters, digits, underscores; or a
# token of three parts.
KEY = re.compile(r'([^-\s]*-)?[\w-]{40,}|[\w-]+\.[\w-]+\.[\w-]+')
LATER = 'wandb=offline writes to the work folder, from where "wandb sync" sends it later'
HINT = f'{LATER}; wandb=auto does so by itself where the service cannot be used'


def use_wandb(config: Config, mode: str) -> None:
    """Send scalars, configuration and panels to Weights & Biases, too.

    Args:
        config: of the run, with its ``work_dir``; it gets one more backend.
        mode: ``online``; ``offline``, in the work folder; ``auto``: online if that is possible, else offline with a
            warning.

    Raises:
        InputError: an unknown mode, or the online service cannot be used.
    """
    if mode not in MODES:
        raise InputError(f'wandb is {mode!r}; choose online, offline, auto or None')
    problem = _problem() if mode != 'offline' and is_main_process() else None
    if problem and mode == 'online':
        raise InputError(f'wandb=online: {problem}; {HINT}')
    if problem:
        warn(f'wandb=auto: {problem}; {LATER}')
    used_mode = 'offline' if problem or mode == 'offline' else 'online'
    settings = {
        'project': 'distillnerf',
        'mode': used_mode,
        'dir': config.work_dir,
        'settings': {'init_timeout': INIT_TIMEOUT},
    }
    backend = {'type': 'WandbVisBackend', 'init_kwargs': settings, 'fall_back': mode == 'auto'}
    config.visualizer.vis_backends.append(backend)


# Under the name of the base class, which it stands for in configs as well.
@VISBACKENDS.register_module(name='WandbVisBackend')
class CheckedWandbVisBackend(WandbVisBackend):
    """Report in one line, without a traceback, if the service refuses the key or cannot be reached any more.

    Args:
        fall_back: go on offline in this case, with a warning.
    """

    def __init__(self, *args: Any, fall_back: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._fall_back = fall_back

    def _init_env(self) -> None:
        """Begin the run.

        Raises:
            InputError: it cannot begin.
        """
        import wandb

        try:
            super()._init_env()
        except (wandb.errors.Error, OSError, ValueError) as error:
            cause = ' '.join(str(error).split())[:200]
            if not self._fall_back:
                raise InputError(f'wandb: the run cannot begin ({cause}); {HINT}') from error
            warn(f'wandb=auto: the run cannot begin ({cause}); {LATER}')
            self._init_kwargs['mode'] = 'offline'
            super()._init_env()


def _problem() -> str | None:
    """Return why the online service cannot be used, as far as that can be told without it; ``None`` if it can."""
    key = os.environ.get('WANDB_API_KEY')
    if not key:
        return 'the key of your account is not in the environment variable WANDB_API_KEY'
    if not KEY.fullmatch(key):
        return (
            f'WANDB_API_KEY is no key: {len(key)} characters, where 40 or more letters, digits and underscores are '
            'expected, without spaces'
        )
    server = os.environ.get('WANDB_BASE_URL', USUAL_SERVER)
    try:
        urllib.request.urlopen(server, timeout=ANSWER_TIMEOUT).close()
    except urllib.error.HTTPError:
        return None  # an answer all the same
    except (OSError, ValueError) as error:
        reason = ' '.join(str(getattr(error, 'reason', error)).split())
        return f'{server} cannot be reached ({reason})'
    return None
