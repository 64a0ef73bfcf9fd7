"""Modules under the names that they had until version 0.2, for one release.

``import projects.DistillNeRF`` installs the finder, so that ``from projects.DistillNeRF.modules.views import Views``
goes on working in users' code. Each old module warns once and shares the objects of the new ones.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

PACKAGE = 'projects.DistillNeRF'
# Old module -> the modules that hold its names now, within the package unless they begin with another project.
MOVED: dict[str, tuple[str, ...]] = {
    'errors': ('utils.errors',),
    'files': ('utils.files',),
    'text_queries': ('semantics.text_encoders',),
    'modules.cameras': ('geometry.cameras',),
    'modules.views': ('geometry.views',),
    'modules.mirror': ('geometry.views',),
    'modules.tensors': ('geometry.tensors',),
    'modules.autocast': ('geometry.tensors',),
    'modules.space': ('geometry.contraction',),
    'modules.similarity': ('semantics.text_encoders',),
    'models.published': ('models.conversion',),
    'datasets.poses': ('geometry.poses',),
    'datasets.boxes': ('geometry.boxes',),
    'datasets.own_data': ('datasets.custom_rig',),
    'datasets.draws': ('datasets.samplers',),
    'losses.registered': ('losses.modules',),
    'losses.color': ('losses.image',),
    'losses.perceptual': ('losses.image',),
    'losses.depth_edges': ('losses.depth',),
    'losses.sky': ('losses.depth',),
    'losses.line_of_sight': ('losses.density',),
    'losses.weights': ('losses.density',),
    'evaluation.image_metric': ('evaluation.metrics',),
    'evaluation.depth_metric': ('evaluation.metrics',),
    'engine.config': ('configuration.config', 'configuration.keys'),
    'engine.options': ('configuration.options', 'configuration.switches'),
    'engine.running': ('engine.train', 'engine.evaluate', 'engine.builders'),
    'engine.failures': ('engine.machine',),
    'engine.run_lock': ('engine.work_dir',),
    'engine.visualize': ('engine.infer',),
    'visualization.trajectories': ('geometry.trajectories',),
}


class AliasFinder(MetaPathFinder, Loader):
    """Finds the old modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for an old module, ``None`` for all others."""
        package, _, name = fullname.partition(f'{PACKAGE}.')
        return ModuleSpec(fullname, self) if not package and name in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        """Fill the old module with the names of the new ones, and say where they are now."""
        places = [f'{PACKAGE}.{name}' for name in MOVED[module.__name__.removeprefix(f'{PACKAGE}.')]]
        for place in reversed(places):
            names = vars(importlib.import_module(place))
            vars(module).update({name: value for name, value in names.items() if not name.startswith('__')})
        warnings.warn(f'{module.__name__} is now {" and ".join(places)}', FutureWarning, stacklevel=2)


def install() -> None:
    """Let Python find the old modules; done once."""
    if not any(isinstance(finder, AliasFinder) for finder in sys.meta_path):
        sys.meta_path.append(AliasFinder())
