"""Every entry point resolves to the values that it had when they were published.

``tests/data/resolved_configs.json`` was written at commit 9291ddf, before files moved. A new entry point is not in it;
a change of a value on purpose changes the file, and says why in its commit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

ENTRY_POINTS = Path('projects/DistillNeRF/configs/model_wrapper')
STORED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parents[1] / 'data/resolved_configs.json').read_text())


def plain(value: Any) -> Any:
    """Lists for tuples, as JSON has them."""
    return json.loads(json.dumps(value))


def differences(stored: Any, found: Any, key: str = '') -> list[str]:
    """Dotted keys whose values differ."""
    if isinstance(stored, dict) and isinstance(found, dict):
        keys = sorted({*stored, *found})
        return [name for k in keys for name in differences(stored.get(k), found.get(k), f'{key}.{k}'.lstrip('.'))]
    return [] if stored == found else [f'{key}: was {stored!r}, is {found!r}']


@pytest.mark.parametrize('name', STORED)
def test_an_entry_point_resolves_as_before(name: str, repo_root: Path) -> None:
    config = Config.fromfile(str(repo_root / ENTRY_POINTS / f'{name}.py'))
    assert differences(STORED[name], plain(config.to_dict())) == []


def test_a_changed_value_is_named() -> None:
    stored = STORED['model_wrapper']
    changed = plain(stored)
    changed['model']['network']['space']['near'] = 0.2
    assert differences(stored, changed) == ['model.network.space.near: was 0.1, is 0.2']
