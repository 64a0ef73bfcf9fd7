"""The weights in a checkpoint, however they were wrapped, and how they differ from those that a network has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

# Parts of names that distributed training (DistributedDataParallel) and torch.compile add.
WRAPPERS = ('module', '_orig_mod')
# Where weights are, the likeliest first; an average of weights counts only where there is nothing else.
PLACES = ('state_dict', 'model_state_dict', 'model_state', 'model', 'network', 'net', 'weights', 'module', 'params')
AVERAGES = ('ema_state_dict', 'model_ema', 'ema')
# Tensors that are no weights.
OTHER_STATE = ('optimizer', 'optimizer_state_dict', 'pending_gradients', 'param_schedulers', 'message_hub', 'meta')
DEEPEST = 3
SHOWN = 5


def find_weights(content: Any) -> dict[str, Tensor] | None:
    """The weights in the contents of a checkpoint, by names without :data:`WRAPPERS`; ``None`` if there are none."""
    for found in _candidates(content, DEEPEST):
        plain = {unwrapped(name): value for name, value in found.items()}
        return plain if len(plain) == len(found) else dict(found)
    return None


def unwrapped(name: str) -> str:
    """``module.head._orig_mod.weight`` -> ``head.weight``."""
    return '.'.join(part for part in name.split('.') if part not in WRAPPERS)


def _candidates(content: Any, depth: int) -> Iterator[Mapping[str, Tensor]]:
    """Mappings of names to tensors, the likeliest first."""
    if not isinstance(content, Mapping) or not depth:
        return
    if content and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()):
        yield content
        return
    others = [key for key in content if key not in (*PLACES, *AVERAGES, *OTHER_STATE)]
    for place in (*PLACES, *others, *AVERAGES):
        if place in content:
            yield from _candidates(content[place], depth - 1)


def differences(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str | None:
    """How weights differ in names and shapes from those expected, in a few words; ``None`` if they do not."""
    missing = [name for name in expected if name not in weights]
    unknown = [name for name in weights if name not in expected]
    others = [
        f'{name} is {tuple(weights[name].shape)}, not {tuple(value.shape)}'
        for name, value in expected.items()
        if name in weights and weights[name].shape != value.shape
    ]
    return in_words(missing, unknown, others)


def in_words(missing: Iterable[str], unknown: Iterable[str], others: Iterable[str]) -> str | None:
    """What is missing, unknown or different, with a count where there is much of it; ``None`` for nothing at all."""
    parts = [
        shortened([f'{name} is missing' for name in missing], 'missing'),
        shortened([f'{name} is unknown' for name in unknown], 'unknown'),
        shortened(list(others), 'of another shape'),
    ]
    return '; '.join(part for part in parts if part) or None


def shortened(items: list[str], kind: str = '', shown: int = SHOWN) -> str:
    """The first few items, and how many more there are."""
    if len(items) <= shown:
        return ', '.join(items)
    return f'{", ".join(items[:shown])} and {len(items) - shown} more {kind}'.rstrip()
