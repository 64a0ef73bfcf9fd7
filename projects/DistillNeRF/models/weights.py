"""Find the weights in a checkpoint, however they were wrapped, and tell how they differ from a network's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

# Parts of names that distributed training (DistributedDataParallel) and torch.compile add.
WRAPPERS = ('module', '_orig_mod')
# Keys of weights, the likeliest first; an average of weights is taken only where there is nothing else.
WEIGHT_KEYS = (
    'state_dict',
    'model_state_dict',
    'model_state',
    'model',
    'network',
    'net',
    'weights',
    'module',
    'params',
)
AVERAGE_KEYS = ('ema_state_dict', 'model_ema', 'ema')
# Keys of tensors that are no weights.
OTHER_KEYS = ('optimizer', 'optimizer_state_dict', 'pending_gradients', 'param_schedulers', 'message_hub', 'meta')
# How deep mappings are searched for weights.
MAX_NESTING = 3
# How many names a message lists.
MAX_LISTED = 5


def find_weights(content: Any) -> dict[str, Tensor] | None:
    """Find the weights in a checkpoint, by names without :data:`WRAPPERS`; ``None`` if there are none."""
    for weights in _candidates(content, MAX_NESTING):
        renamed = {unwrapped(name): value for name, value in weights.items()}
        return renamed if len(renamed) == len(weights) else dict(weights)
    return None


def unwrapped(name: str) -> str:
    """Remove :data:`WRAPPERS` from a name: ``module.head._orig_mod.weight`` becomes ``head.weight``."""
    return '.'.join(part for part in name.split('.') if part not in WRAPPERS)


def _candidates(content: Any, depth: int) -> Iterator[Mapping[str, Tensor]]:
    """Yield mappings of names to tensors, the likeliest weights first."""
    if not isinstance(content, Mapping) or not depth:
        return
    if content and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()):
        yield content
        return
    others = [key for key in content if key not in (*WEIGHT_KEYS, *AVERAGE_KEYS, *OTHER_KEYS)]
    for key in (*WEIGHT_KEYS, *others, *AVERAGE_KEYS):
        if key in content:
            yield from _candidates(content[key], depth - 1)


def differences(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str | None:
    """Tell how weights differ in names and shapes from those expected; ``None`` if they do not."""
    missing = [name for name in expected if name not in weights]
    unknown = [name for name in weights if name not in expected]
    others = [
        f'{name} is {tuple(weights[name].shape)}, not {tuple(value.shape)}'
        for name, value in expected.items()
        if name in weights and weights[name].shape != value.shape
    ]
    return in_words(missing, unknown, others)


def in_words(missing: Iterable[str], unknown: Iterable[str], others: Iterable[str]) -> str | None:
    """Describe missing and unknown names and other shapes in one line, shortened; ``None`` if there are none."""
    parts = [
        shortened([f'{name} is missing' for name in missing], 'missing'),
        shortened([f'{name} is unknown' for name in unknown], 'unknown'),
        shortened(list(others), 'of another shape'),
    ]
    return '; '.join(part for part in parts if part) or None


def shortened(items: list[str], kind: str = '', shown: int = MAX_LISTED) -> str:
    """Join the first few items, and say how many more there are."""
    if len(items) <= shown:
        return ', '.join(items)
    return f'{", ".join(items[:shown])} and {len(items) - shown} more {kind}'.rstrip()
