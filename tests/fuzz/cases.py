"""A case of the fuzz test: which field of which file of which entrance goes wrong in which way, drawn from a seed."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz import documents
from tests.fuzz.attempts import Attempt, attempt
from tests.fuzz.entrances import BEFORE, Entrance
from tests.fuzz.fields import Keys, file_pattern, get, pattern, walk
from tests.fuzz.operations import OPERATIONS, REMOVED, Damage, Site, damage
from tests.fuzz.oracle import differences, verdict
from tests.fuzz.out_of_reach import out_of_reach


@dataclass
class Subject:
    """An entrance with its valid input.

    Attributes:
        entrance: what it is.
        root: folder of the valid input.
        files: contents of its files.
        fields: (file, keys) of every field, by the pattern of both; files themselves have no keys.
        valid: what the command makes of the valid input.
    """

    entrance: Entrance
    root: Path
    files: dict[str, Any]
    fields: dict[tuple[str, str], list[tuple[str, Keys]]]
    valid: Attempt


def subject(entrance: Entrance, folder: Path) -> Subject:
    """Build the valid input and run the command on it once."""
    root = folder / 'input'
    root.mkdir(parents=True)
    entrance.build(root)
    files = entrance.read(root)
    fields: dict[tuple[str, str], list[tuple[str, Keys]]] = defaultdict(list)
    for name, content in files.items():
        for keys in [(), *walk(content)]:
            fields[file_pattern(name), pattern(keys)].append((name, keys))
    valid = run_on(entrance, root, folder / 'out')
    assert valid.code == 0 and valid.result, (entrance.name, valid)
    return Subject(entrance, root, files, dict(fields), valid)


def run_on(entrance: Entrance, root: Path, out: Path) -> Attempt:
    """Run the command of an entrance."""
    out.mkdir(exist_ok=True)
    made = attempt(lambda: entrance.convert(root, out), lambda: entrance.load(root, out))
    return dataclasses.replace(made, folder=root.parent)


@dataclass(frozen=True)
class Case:
    """A damaged input, ready to be written."""

    subject: Subject
    operation: str
    name: str
    keys: Keys
    damage: Damage

    def __str__(self) -> str:
        place = ''.join(f'[{key!r}]' for key in self.keys)
        return f'{self.subject.entrance.name}: {self.name}{place}: {self.operation}: {self.damage.what}'


def draw(subjects: Sequence[Subject], seed: int, number: int) -> Case:
    """Case ``number`` of a seed; entrances and operations take turns, the rest is chance."""
    rng = random.Random(f'{seed}-{number}')
    subject = subjects[number % len(subjects)]
    operation = list(OPERATIONS)[number // len(subjects) % len(OPERATIONS)]
    groups = sorted(subject.fields)
    rng.shuffle(groups)
    for group in groups:
        name, keys = rng.choice(subject.fields[group])
        document = subject.files[name]
        mates = [other for file, other in subject.fields[group] if file == name]
        site = Site(subject.entrance.name, name, keys, document, mates, subject.files)
        made = damage(operation, site, rng)
        if made is not None:
            return Case(subject, operation, name, keys, made)
    # A format whose fields have no units, say.
    return draw(subjects, seed, number + 10_007)


def write_damaged(case: Case, root: Path) -> None:
    """A copy of the valid input with the damage in it; files that are whole are links to the valid ones."""
    shutil.copytree(case.subject.root, root, copy_function=os.link)
    path, content = root / case.name, case.damage.content
    if content is REMOVED:
        path.unlink()
        return
    if not isinstance(content, (bytes, tuple)):
        documents.write(path, content)
        return
    old = path.read_bytes()
    path.unlink()
    path.write_bytes(content if isinstance(content, bytes) else _changed_bytes(case, old, *content))


def _changed_bytes(case: Case, old: bytes, how: str, value: Any) -> bytes:
    if how == 'copy':
        return (case.subject.root / value).read_bytes()
    if how == 'twice':
        return old + old
    length = int(len(old) * value)
    # A whole number of points is a valid file of points.
    return old[: length + 1 if length % 4 == 0 else length]


def words_of(case: Case) -> set[str]:
    """What a message may call the affected thing: its file, the records around it, its own name or content."""
    words = {
        *Path(case.name).parts,
        f'{Path(case.name).stem[:-1]}ies',
        Path(case.name).name.partition('.')[0],
        *map(str, case.keys[-1:]),
    }
    document = case.subject.files[case.name]
    for depth in range(len(case.keys)):
        around = get(document, case.keys[:depth])
        if isinstance(around, dict):
            words |= {value for value in around.values() if isinstance(value, str)}
        words |= {key for key in case.keys[:depth] if isinstance(key, str)}
    if 'lasers' in case.keys:
        words.add('LiDAR')
    if case.keys and isinstance(get(document, case.keys), str):
        words.add(get(document, case.keys))
    return {word for word in words if len(word) > 1 or word in 'xyzi'} - {''}


def judge(case: Case, folder: Path) -> tuple[str, str]:
    """Run a case in an empty folder: (what came of it, what is wrong with that, or nothing)."""
    entrance, root, out = case.subject.entrance, folder / 'input', folder / 'out'
    folder.mkdir(exist_ok=True)
    write_damaged(case, root)
    out.mkdir()
    for name in entrance.outputs:
        (out / name).write_bytes(BEFORE)
    inputs, before = _listing(root), _contents(out)
    made = run_on(entrance, root, out)
    left = _contents(out)
    kept = {name for name in left if name.startswith(entrance.caches)} if entrance.caches else set()
    found, wrong = verdict(
        made, case.subject.valid, folder, words_of(case), {name: left[name] for name in left.keys() - kept}, before
    )
    if not wrong and _listing(root) != inputs:
        wrong = f'input folder changed: {sorted(_listing(root) ^ inputs)}'
    if not wrong and found == 'refused' and kept:
        wrong = _poisoned(case, out)
    if found == 'silent' and out_of_reach(entrance.name, case.name, pattern(case.keys), case.operation):
        return 'out of reach', ''
    return found, wrong


def _poisoned(case: Case, out: Path) -> str:
    """Whether what was kept of the damaged input spoils a later run on the valid one."""
    again = run_on(case.subject.entrance, case.subject.root, out)
    changed = sorted(differences(again.result, case.subject.valid.result))
    return f'kept files spoil the next run: {changed[:4]} {again}' if changed else ''


def _listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob('*')}


def _contents(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob('*') if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
