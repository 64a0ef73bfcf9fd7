"""Every entry point resolves to the values that it had when they were published.

``tests/data/resolved_configs.json`` was written at commit 9291ddf, before files moved. A new entry point is not in it;
a change of a value on purpose changes the file, and says why in its commit.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

ENTRY_POINTS = Path('projects/DistillNeRF/configs/model_wrapper')
STORED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parents[1] / 'data/resolved_configs.json').read_text())
# Classes that have another name now; the former one is still registered (tests/datasets/test_samplers.py).
RENAMED = {'DrawBatchSampler': 'SeededBatchSampler'}
# Keys that came later, with their values.
ADDED = {
    # Options of the model that existed before, with the value that was their default. They are declared so that
    # mmengine's own runner finds them in the config; the text encoder was declared already for networks of features.
    'model': {
        'num_camera': None,
        'visualize_imgs': False,
        'visualize_voxels': False,
        'visualize_foundation_model_feat': False,
        'language_query': False,
        'save_visualized_imgs': True,
        'text_encoder': None,
        'voxel_colors': None,
        'voxel_min_density': 0.5,
        'vis_save_directory': None,
    },
    # The hooks that act on these options under mmengine's own runner.
    'default_hooks': {
        'data_for_model': {'type': 'DataForModelHook'},
        'first_pictures': {'type': 'FirstPicturesHook'},
    },
}
NOTHING = '<nothing>'


def plain(value: Any) -> Any:
    """Lists for tuples, as JSON has them."""
    return json.loads(json.dumps(value))


def expected(stored: Any) -> Any:
    """What a stored config is today: classes under their new names, and what was added."""
    if isinstance(stored, list):
        return [expected(part) for part in stored]
    if not isinstance(stored, dict):
        return stored
    return {
        key: RENAMED.get(value, value)
        if key == 'type'
        else expected(ADDED.get(key, {}) | value)
        if isinstance(value, dict)
        else expected(value)
        for key, value in stored.items()
    }


def differences(stored: Any, found: Any, key: str = '') -> list[str]:
    """Dotted keys whose values differ, or that only one of the two has."""
    if isinstance(stored, dict) and isinstance(found, dict):
        keys = sorted({*stored, *found})
        return [
            name
            for k in keys
            for name in differences(stored.get(k, NOTHING), found.get(k, NOTHING), f'{key}.{k}'.lstrip('.'))
        ]
    return [] if stored == found else [f'{key}: was {stored!r}, is {found!r}']


@pytest.mark.parametrize('name', STORED)
def test_an_entry_point_resolves_as_before(name: str, repo_root: Path) -> None:
    config = Config.fromfile(str(repo_root / ENTRY_POINTS / f'{name}.py'))
    assert differences(expected(STORED[name]), plain(config.to_dict())) == []


def test_a_changed_value_is_named() -> None:
    stored = STORED['model_wrapper']
    changed = plain(stored)
    changed['model']['network']['space']['near'] = 0.2
    assert differences(stored, changed) == ['model.network.space.near: was 0.1, is 0.2']


def test_an_added_key_is_named_even_if_its_value_is_none() -> None:
    stored = STORED['model_wrapper']
    changed = copy.deepcopy(stored)
    changed['model']['color'] = None
    assert differences(stored, changed) == ["model.color: was '<nothing>', is None"]
