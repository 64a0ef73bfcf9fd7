"""The name that a user probably meant."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Iterable

# Where the classes are that configs name.
PACKAGES = ('projects.DistillNeRF', 'mmengine', 'torch.optim')
_UNEXPECTED = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean NAME?`` for the nearest of the known names, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f'; did you mean {near[0]}?' if near else ''


def meant_argument(message: str) -> str:
    """:func:`did_you_mean` for the error of a class that was given an argument it does not know."""
    found = _UNEXPECTED.search(message)
    if found is None:
        return ''
    class_name, argument = found.groups()
    return did_you_mean(argument, _arguments(class_name))


def _arguments(class_name: str) -> set[str]:
    """What the classes of that name take, with their bases."""
    known: set[str] = set()
    for module_name, module in list(sys.modules.items()):
        found = vars(module).get(class_name) if module_name.startswith(PACKAGES) else None
        if inspect.isclass(found):
            for base in found.__mro__[:-1]:
                if '__init__' in vars(base):
                    known |= set(inspect.signature(base.__init__).parameters)
    return known - {'self', 'args', 'kwargs'}
