"""mmdet3d's own components are imported when one is asked for, not before, and are found as ever."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.helpers.commands import ENTRY
from tests.helpers.data import ROOT

# In a process of its own, as other tests import everything.
SCRIPT = """
import json, sys
from mmengine.registry import DefaultScope, Registry
from projects.DistillNeRF.apis import init_model
from projects.DistillNeRF.configuration.config import load_config
import mmdet3d.registry

def heavy(): return [name for name in ('mmdet.models', 'mmdet3d.datasets', 'sklearn') if name in sys.modules]

config = load_config(sys.argv[1])
init_model(config, None)
registries = {name: each for name, each in vars(mmdet3d.registry).items()
              if isinstance(each, Registry) and each.scope == 'mmdet3d' and name != 'INFERENCERS'}  # names no module
hooks, models = registries['HOOKS'], registries['MODELS']
early = {'heavy': heavy(), 'hook': hooks.get('CheckpointHook').__name__, 'ours': models.get('LogDepthLoss').__name__}
early['scoped'] = hooks.get('mmengine.CheckpointHook').__name__
early['after'] = heavy()
late = {'theirs': models.get('PointPillarsScatter').__name__, 'mmdet': models.get('mmdet.L1Loss').__name__,
        'transform': registries['TRANSFORMS'].get('mmdet3d.RandomFlip3D').__name__}
try:
    missing = str(models.get('NoSuchModel'))
except Exception as error:
    missing = type(error).__name__
DefaultScope.get_instance('test', scope_name='mmdet3d')
built = type(hooks.build(dict(type='DisableObjectSampleHook', disable_after_epoch=3))).__name__
both = {}
for name, registry in registries.items():
    registry.get('EverythingIsImportedForThis') if registry is models else Registry.import_from_location(registry)
    parent = registry.parent
    both[name] = sorted(
        key for key, kind in registry.module_dict.items()
        if parent is not None and key in parent.module_dict and not kind.__module__.startswith('projects.')
    )
print(json.dumps([early, late, missing, built, both]))
"""


def test_components_of_mmdet3d_are_imported_on_demand():
    command = [sys.executable, '-c', SCRIPT, str(ENTRY)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    early, late, missing, built, both = json.loads(result.stdout.splitlines()[-1])
    assert early == {
        'heavy': [],
        'hook': 'CheckpointHook',
        'ours': 'LogDepthLoss',
        'scoped': 'CheckpointHook',
        'after': [],
    }
    assert late == {'theirs': 'PointPillarsScatter', 'mmdet': 'L1Loss', 'transform': 'RandomFlip3D'}
    assert missing in ('None', 'RuntimeError') and built == 'DisableObjectSampleHook'
    # Else a name would be found in the parent first, where the child's should win.
    assert both['HOOKS'] == [] and not any(both.values()), both
