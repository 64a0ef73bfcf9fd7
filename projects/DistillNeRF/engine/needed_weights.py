"""Say which weights of foundation models a config needs, and for what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ..configuration.layers import value_of
from ..configuration.options import all_datasets, frozen_depth
from ..foundation_models.catalog import Weights, at_place, named
from .evaluate import LPIPS_WEIGHTS

# The last folder of ``data_prefix.features`` in the published layout -> the model that the features are of.
FEATURES_OF = {'samples_clip_vitl14_336': 'clip-vitl14-336', 'samples_dinov2_vitb14': 'dinov2-vitb14'}


@dataclass(frozen=True)
class Need:
    """Weights that a config asks for.

    Attributes:
        key: of the config, or the command that asks.
        path: as the config names them.
        entry: of the catalog; ``None`` for weights of one's own.
        required: whether training stops without them.
    """

    key: str
    path: str
    entry: Weights | None
    required: bool


def needed_weights(config: Config) -> list[Need]:
    """List the weights that training, evaluation and making the features of a config need, each once."""
    needs: dict[str, Need] = {}
    for need in _asked(config):
        known = needs.get(need.path)
        if known is None or (need.required and not known.required):
            needs[need.path] = need
    return list(needs.values())


def _asked(config: Config) -> Iterator[Need]:
    """Yield what each setting asks for."""
    if (depth := frozen_depth(config)) is not None:
        yield _at('model.network.depth_weights', depth[0], True)
    for name, loss in (value_of(config, 'model.losses') or {}).items():
        if isinstance(loss, Mapping) and loss.get('type') == 'LPIPSLoss' and loss.get('loss_weight', 1):
            yield _at(f'model.losses.{name}.weights', loss.get('weights', LPIPS_WEIGHTS), True)
    if value_of(config, 'model.network') is not None and value_of(config, 'model.network.head.type') != 'feature':
        yield _at('LPIPS of tools/test.py', LPIPS_WEIGHTS, False)
    encoder = value_of(config, 'model.text_encoder')
    if isinstance(encoder, str) and (entry := at_place(encoder)) is not None:
        yield Need('model.text_encoder', encoder, entry, True)
    for loader, dataset in all_datasets(config):
        folder = Path(str((dataset.get('data_prefix') or {}).get('features') or '')).name
        if dataset.get('load_features') and folder in FEATURES_OF:
            entry = named(FEATURES_OF[folder])
            key = f'{loader}.data_prefix.features, to make them with tools/extract_features.py'
            yield Need(key, str(Path('aux_models') / entry.place), entry, False)


def _at(key: str, path: str, required: bool) -> Need:
    return Need(key, str(path), at_place(path), required)
