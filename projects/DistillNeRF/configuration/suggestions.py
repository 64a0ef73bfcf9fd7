"""The name that a user probably meant."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Callable, Iterable

# Where the classes are that configs name.
PACKAGES = ('projects.DistillNeRF', 'mmengine', 'torch.optim')
# Classes that hand keyword arguments on to others, and what those take.
HANDED_ON = {
    'CheckpointHook': {'meta'},
    'EMAHook': {'momentum', 'gamma', 'interval', 'device', 'update_buffers'},
}
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


def arguments(built: Callable) -> set[str] | None:
    """Names that a class or function takes as keyword arguments; ``None`` if that cannot be told."""
    names: set[str] = set(HANDED_ON.get(built.__name__, ()))
    functions = [built]
    if inspect.isclass(built):
        functions = [base.__init__ for base in built.__mro__[:-1] if '__init__' in vars(base)]
    for function in functions:
        parameters = inspect.signature(function).parameters.values()
        names |= {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names - {'self'}
    # All of them pass on what they do not know.
    return names - {'self'} if built.__name__ in HANDED_ON or not functions else None


def switches(built: Callable) -> set[str]:
    """Those of :func:`arguments` that are True or False, and nothing else, as their annotations say."""
    functions = [base.__init__ for base in built.__mro__[:-1]] if inspect.isclass(built) else [built]
    parameters = [p for function in functions for p in inspect.signature(function).parameters.values()]
    return {parameter.name for parameter in parameters if parameter.annotation in (bool, 'bool')}


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
