"""The name that a user probably meant."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Callable, Iterable

# Packages that hold the classes that configs name.
PACKAGES = ('projects.DistillNeRF', 'mmengine', 'torch.optim')
# Classes that pass keyword arguments on to others, and what those take.
PASSED_ON = {
    'CheckpointHook': {'meta'},
    'EMAHook': {'momentum', 'gamma', 'interval', 'device', 'update_buffers'},
}
_UNEXPECTED = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean NAME?`` for the nearest of the known names, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f'; did you mean {near[0]}?' if near else ''


def meant_argument(message: str) -> str:
    """Return :func:`did_you_mean` for the message of a class that was given an argument it does not know."""
    found = _UNEXPECTED.search(message)
    return did_you_mean(found[2], _arguments_by_name(found[1])) if found else ''


def arguments(built: Callable) -> set[str] | None:
    """Return the keyword arguments that a class or function takes; ``None`` if that cannot be told."""
    names: set[str] = set(PASSED_ON.get(built.__name__, ()))
    functions = [built]
    if inspect.isclass(built):
        functions = [base.__init__ for base in built.__mro__[:-1] if '__init__' in vars(base)]
    for function in functions:
        parameters = inspect.signature(function).parameters.values()
        names |= {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names - {'self'}
    # Every one of them passes on what it does not know.
    return names - {'self'} if built.__name__ in PASSED_ON or not functions else None


def switches(built: Callable) -> set[str]:
    """Return those of :func:`arguments` that are True or False, and nothing else, as their annotations say."""
    functions = [base.__init__ for base in built.__mro__[:-1]] if inspect.isclass(built) else [built]
    parameters = [p for function in functions for p in inspect.signature(function).parameters.values()]
    return {parameter.name for parameter in parameters if parameter.annotation in (bool, 'bool')}


def _arguments_by_name(class_name: str) -> set[str]:
    """Return what the classes of that name take, with their bases."""
    known: set[str] = set()
    for module_name, module in list(sys.modules.items()):
        found = vars(module).get(class_name) if module_name.startswith(PACKAGES) else None
        if inspect.isclass(found):
            for base in found.__mro__[:-1]:
                if '__init__' in vars(base):
                    known |= set(inspect.signature(base.__init__).parameters)
    return known - {'self', 'args', 'kwargs'}
