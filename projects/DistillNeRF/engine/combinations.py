"""Options of a command that leave each other without use."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..utils.errors import InputError


def refuse_together(args: argparse.Namespace, option: str, others: Sequence[str], why: str) -> None:
    """Refuse options that do nothing beside another one.

    Args:
        args: those that were not given are ``None`` or False.
        option: as on the command line, such as ``--truth``.
        others: those that it leaves without use.
        why: the reason, such as ``looks at every pose``.

    Raises:
        InputError: they are given together.
    """
    if _given(args, option) and (idle := [other for other in others if _given(args, other)]):
        raise InputError(f'{option} {why}: {", ".join(idle)} would do nothing; leave one of the two away')


def refuse_without(args: argparse.Namespace, option: str, others: Sequence[str]) -> None:
    """Refuse options that do nothing without another one, as :func:`refuse_together`."""
    if not _given(args, option) and (idle := [other for other in others if _given(args, other)]):
        raise InputError(f'{", ".join(idle)} would do nothing without {option}; give it, too, or leave {idle[0]} away')


def _given(args: argparse.Namespace, option: str) -> bool:
    return getattr(args, option.lstrip('-').replace('-', '_'), None) not in (None, False)
