"""What the command lines of all tools share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmengine.config import DictAction


class Overrides(DictAction):
    """``--cfg-options key=value ...``; anything else is refused like every wrong argument."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Parse the pairs."""
        for value in values:
            if not value.partition('=')[0] or '=' not in value:
                parser.error(f'argument {option_string}: {value!r} is not of the form key=value')
        super().__call__(parser, namespace, values, option_string)


def config_parser(description: str | None, checkpoint: bool = True, optional: bool = False) -> argparse.ArgumentParser:
    """A parser of ``CONFIG [CKPT] [--cfg-options key=value ...]``; a checkpoint ``None`` becomes ``None``.

    With ``optional`` both may be left away.
    """
    parser = argparse.ArgumentParser(description=description)
    count = {'nargs': '?'} if optional else {}
    parser.add_argument('config', help='config file', **count)
    if checkpoint:
        about = 'checkpoint, or None for random weights'
        parser.add_argument('checkpoint', type=_checkpoint_or_none, help=about, **count)
    parser.add_argument('--cfg-options', nargs='+', action=Overrides, help='override settings: key=value ...')
    return parser


def _checkpoint_or_none(name: str) -> str | None:
    return None if name == 'None' else name
