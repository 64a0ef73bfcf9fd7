"""Look a name up in mmdet3d's registries without importing all of its detectors first.

Those imports (mmdet, transformers, scikit-learn, a compiler) take as long as most of what a command does before its
first step, and no config of this project names one of mmdet3d's own components.
"""

from __future__ import annotations

import mmdet3d.registry
from mmengine.registry import Registry


class OnDemandRegistry(Registry):
    """A registry that imports its package's modules at the first name that neither it nor a parent knows yet.

    A name is found as before, as long as the package registers none that a parent has as well (mmdet3d has none such).
    """

    def get(self, key: str) -> type | None:
        """Return the class with a name; ``None`` if there is none."""
        if not _is_known(self, key):
            super().import_from_location()
        return super().get(key)

    def import_from_location(self) -> None:
        """Do nothing yet: :meth:`get` imports what is needed."""


def import_mmdet3d_on_demand() -> None:
    """Make mmdet3d's registries :class:`OnDemandRegistry`. May be called again."""
    for registry in vars(mmdet3d.registry).values():
        if isinstance(registry, Registry) and registry.scope == 'mmdet3d':
            registry.__class__ = OnDemandRegistry


def _is_known(registry: Registry, key: str) -> bool:
    scope, name = Registry.split_scope_key(key)
    if scope is not None and scope != registry.scope:
        return True  # another package's registry imports its own
    own, *parents = _lineage(registry)
    return name in own.module_dict or (scope is None and any(name in parent.module_dict for parent in parents))


def _lineage(registry: Registry) -> list[Registry]:
    """Return a registry, its parent, and so on."""
    return [registry, *(_lineage(registry.parent) if registry.parent is not None else ())]
