"""The files that a config is made of: which keys each of them sets, and which variables nothing reads."""

from __future__ import annotations

import ast
import io
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.fileio import load

BASE = '_base_'


@dataclass(frozen=True)
class Layer:
    """A config file, or the options on a command line, over what it changes.

    Attributes:
        path: the file; ``None`` for the command line.
        merged: the config as it is with this layer.
        bases: the files that the layer inherits from.
        variables: names that a Python file gives a value to.
        reads: names that the file, or a file that inherits from it, reads.
        said: names of all keys that a file sets; of the command line, the dotted keys of its options.
    """

    path: Path | None
    merged: Mapping[str, Any]
    bases: tuple[Layer, ...]
    variables: Collection[str] = frozenset()
    reads: Collection[str] = frozenset()
    said: Collection[str] = frozenset()

    def origin(self, key: str, by_name: bool = False) -> Layer:
        """Return the uppermost layer that sets a dotted key, or changes something below it.

        Args:
            key: the dotted key.
            by_name: a file that has a key of that name anywhere counts as well, even if the value is as before.
        """
        below = next((base for base in self.bases if key.partition('.')[0] in base.merged), None)
        if below is None or self._says(key, by_name) or value_of(self.merged, key) != value_of(below.merged, key):
            return self
        return below.origin(key, by_name)

    def _says(self, key: str, by_name: bool) -> bool:
        """Return whether the layer sets a key, as far as its text tells."""
        if self.path is None:
            return any(overlap(option, key) for option in self.said)
        return by_name and key.rpartition('.')[2] in self.said

    def inherits(self, other: Layer) -> bool:
        """Return whether the other one lies below this one."""
        return any(base is other or base.inherits(other) for base in self.bases)

    def files(self) -> Iterator[Layer]:
        """Yield all files, those that inherit before those that they inherit from."""
        if self.path is not None:
            yield self
        for base in self.bases:
            yield from base.files()


def value_of(config: Mapping[str, Any] | Config, key: str) -> Any:
    """Return the value of a dotted key; ``None`` where there is none."""
    value: Any = config
    for name in key.split('.'):
        if isinstance(value, Mapping | Config):
            value = value.get(name)
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def is_within(key: str, section: str) -> bool:
    """Return whether a dotted key is another one or lies within it."""
    return f'{key}.'.startswith(f'{section}.')


def overlap(first: str, second: str) -> bool:
    """Return whether one dotted key is the other, or lies within it."""
    return is_within(first, second) or is_within(second, first)


def read_layers(path: Path, config: Config, options: Mapping[str, Any]) -> Layer:
    """Read the layers of a loaded config; a config in mmengine's style of imports counts as a single file."""
    lazy = path.suffix == '.py' and Config._is_lazy_import(str(path))
    file = Layer(path, Config.fromfile(str(path)).to_dict(), ()) if lazy else _read_file(path, frozenset())
    return Layer(None, config.to_dict(), (file,), said=frozenset(options))


def _read_file(path: Path, read_above: frozenset[str]) -> Layer:
    """Read a file and those below it.

    Args:
        path: the file.
        read_above: names that the files over it read as ``_base_.NAME``.
    """
    with tempfile.TemporaryDirectory() as folder:
        # As mmengine does it: its placeholders in braces are no Python.
        copy = str(Path(folder) / f'config{path.suffix}')
        Config._substitute_predefined_vars(str(path), copy)
        Config._substitute_env_variables(copy, copy)
        placeholders = Config._pre_substitute_base_vars(copy, copy)
        bases = Config._get_base_files(copy)
        content = Path(copy).read_text(encoding='utf-8')
    tree = ast.parse(content) if path.suffix == '.py' else None
    of_bases = {name.partition('.')[0] for name in placeholders.values()} | _base_variables(tree)
    below = [Path(Config._get_cfg_path(base, str(path))[0]) for base in bases]
    merged = Config._file2dict(str(path))[0]
    layers = tuple(_read_file(base, frozenset(of_bases | read_above)) for base in below)
    if tree is None:
        own = load(io.StringIO(content), file_format=path.suffix[1:])
        return Layer(path, merged, layers, set(own) - {BASE}, read_above, set(_all_keys(own)))
    reads = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    keys = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg}
    keys |= {key.value for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys if _is_text(key)}
    return Layer(path, merged, layers, set(_assigned(tree.body)) - {BASE}, reads | read_above, keys)


def _all_keys(value: Any) -> Iterator[str]:
    """Yield the names of all keys of nested dictionaries and lists."""
    if isinstance(value, Mapping):
        yield from map(str, value)
        value = list(value.values())
    for part in value if isinstance(value, list) else ():
        yield from _all_keys(part)


def _is_text(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _base_variables(tree: ast.Module | None) -> set[str]:
    """Return the names of ``_base_.NAME`` and ``_base_['NAME']`` in a file."""
    found = set()
    for node in ast.walk(tree) if tree is not None else ():
        of_base = isinstance(getattr(node, 'value', None), ast.Name) and node.value.id == BASE
        if of_base and isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif of_base and isinstance(node, ast.Subscript) and _is_text(node.slice):
            found.add(node.slice.value)
    return found


def _assigned(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the names that statements of a module give a value to, in its conditions as well."""
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield from (part.id for part in ast.walk(target) if _is_stored(part))
        for block in ('body', 'orelse', 'finalbody'):
            if isinstance(node, ast.If | ast.For | ast.With | ast.Try | ast.While):
                yield from _assigned(getattr(node, block, []))


def _is_stored(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and not node.id.startswith('__')
