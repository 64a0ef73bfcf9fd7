"""The eight ways in which a field or a file goes wrong; each is a rule that fits many fields."""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch

from tests.fuzz.fields import REMOVED, Keys, get, is_number, is_numeric, pattern, put
from tests.fuzz.units import factors

PICTURES = ('.png', '.jpg')


@dataclass(frozen=True)
class Site:
    """A field of a file, or (without keys) the file itself.

    Attributes:
        entrance: name of the entrance.
        name: file.
        keys: of the field.
        document: the file's content; not to be changed.
        mates: keys of the same field in all records of the file, with its own.
        others: contents of all files.
    """

    entrance: str
    name: str
    keys: Keys
    document: Any
    mates: list[Keys]
    others: dict[str, Any]

    @property
    def value(self) -> Any:
        """The content of the field."""
        return get(self.document, self.keys)

    @property
    def field(self) -> str:
        """What it is called, with the fields around it."""
        return pattern(self.keys)

    @property
    def is_picture(self) -> bool:
        """Whether the file is an image."""
        return self.name.endswith(PICTURES)


@dataclass(frozen=True)
class Damage:
    """A changed file.

    Attributes:
        what: in words.
        content: new content; bytes as they are, :data:`REMOVED` for no file.
    """

    what: str
    content: Any


Operation = Callable[[Site, random.Random], Damage | None]
# Returns what takes the place of a value, or None if the rule does not fit.
Rule = Callable[[Any, random.Random, Site], Any]


def at_some(rule: Rule) -> Operation:
    """Apply a rule to one field, or now and then to the same field of all records."""

    @functools.wraps(rule)
    def operation(site: Site, rng: random.Random) -> Damage | None:
        everywhere = len(site.mates) > 1 and rng.random() < 0.3
        document, changed = copy.deepcopy(site.document), False
        seed = rng.random()
        # From the last one on, since removing moves what comes after.
        for keys in reversed(site.mates if everywhere else [site.keys]):
            old = get(document, keys)
            new = rule(copy.deepcopy(old), random.Random(seed), site)
            if new is not None:
                document, changed = put(document, keys, None if new is NOTHING else new), True
        return Damage(f'{rule.__name__}{" in all records" if everywhere else ""}', document) if changed else None

    return operation


class Nothing:
    """A null, as None says that a rule does not fit."""


NOTHING = Nothing()


# Removed.


def removed(value: Any, rng: random.Random, site: Site) -> Any:
    """Take it away."""
    return REMOVED


def file_removed(site: Site, rng: random.Random) -> Damage | None:
    """No such file."""
    return Damage('file removed', REMOVED)


# Empty.


def emptied(value: Any, rng: random.Random, site: Site) -> Any:
    """Nothing where something was."""
    if isinstance(value, np.ndarray):
        return value[:0]
    if isinstance(value, torch.Tensor):
        return rng.choice([value.new_zeros(0), NOTHING])
    if isinstance(value, pd.Series):
        return NOTHING
    if isinstance(value, (str, list, dict)):
        return rng.choice([type(value)(), NOTHING])
    return NOTHING


def file_emptied(site: Site, rng: random.Random) -> Damage | None:
    """A file of no bytes, or one that holds nothing."""
    if isinstance(site.document, (list, dict, pd.DataFrame)) and rng.random() < 0.5:
        empty = site.document.iloc[:0] if isinstance(site.document, pd.DataFrame) else type(site.document)()
        return Damage('holds nothing', empty)
    return Damage('no bytes', b'')


# NaN.


def no_number(value: Any, rng: random.Random, site: Site) -> Any:
    """NaN or infinity."""
    wrong = rng.choice([float('nan'), float('inf'), float('-inf')])
    if is_number(value):
        return wrong
    if is_numeric(value):
        inner = value
        while is_numeric(inner[0:1]) and isinstance(inner[0], list):
            inner = inner[rng.randrange(len(inner))]
        inner[rng.randrange(len(inner))] = wrong
        return value
    if isinstance(value, pd.Series) and value.dtype.kind in 'fi':
        value = value.astype(float)
        value.iloc[rng.randrange(len(value))] = wrong
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind == 'f':
        return np.full_like(value, np.nan)
    if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel():
        value.view(-1)[rng.randrange(value.numel())] = wrong
        return value
    return None


# Wrong unit.


def wrong_unit(value: Any, rng: random.Random, site: Site) -> Any:
    """Another unit than that of the format."""
    if isinstance(value, torch.Tensor):
        return value.to(torch.int32) if value.is_floating_point() else None
    factor = factors(site.entrance, site.name, site.field, rng)
    if factor is None:
        return None
    if is_number(value):
        return type(value)(value * factor)
    if isinstance(value, np.ndarray):
        value = value.astype(np.float32)
        columns = slice(3) if site.name.endswith('.bin') else slice(None)
        value[..., columns] = value[..., columns] * factor
        return value
    if isinstance(value, pd.Series):
        return value * factor
    if not is_numeric(value):
        return None
    matrix = np.array(value, dtype=float)
    if matrix.shape == (4, 4):
        matrix[:3, 3] *= factor
    elif matrix.shape == (16,):
        matrix[3:12:4] *= factor
    elif matrix.shape == (3, 3):
        matrix[:2] *= factor
    elif matrix.shape == (7,):
        matrix[:6] *= factor
    else:
        matrix *= factor
    return matrix.tolist()


def picture_in_twelve_bits(site: Site, rng: random.Random) -> Damage | None:
    """A PNG of 16 bits that holds values of 12."""
    if not site.name.endswith('.png'):
        return None
    return Damage('12 bits in a PNG of 16', _encoded('.png', site.document.astype(np.uint16) << 4))


# Wrong shape.


def wrong_shape(value: Any, rng: random.Random, site: Site) -> Any:
    """Fewer, more, nested, flat, transposed; text for a number."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return _other_array(value, rng)
    if isinstance(value, pd.Series):
        return value.astype(str)
    if is_numeric(value):
        options = [value[:-1], [*value, value[-1]], [value], dict(enumerate(map(str, value)))]
        if isinstance(value[0], list):
            flat = [entry for row in value for entry in (row if isinstance(row, list) else [row])]
            options += [flat, [list(row) for row in zip(*value, strict=True)]]
        return rng.choice(options)
    if is_number(value):
        return rng.choice([[value], {'value': value}, f'{value} units'])
    if isinstance(value, dict):
        return rng.choice([list(value.values()), list(value), 'text'])
    if isinstance(value, list):
        return rng.choice([[value], {str(number): entry for number, entry in enumerate(value)}, 7, 'text'])
    return rng.choice([[value], {'value': value}, 7])


def _other_array(value: Any, rng: random.Random) -> Any:
    options = [value[:-1], value[None]]
    if value.ndim >= 2:
        # A checkpoint's convolutions may have any number of axes of one.
        options += [value.reshape(-1), value[:, :-1]]
    return rng.choice([option for option in options if 0 not in option.shape] or options)


def picture_of_another_size(site: Site, rng: random.Random) -> Damage | None:
    """Cut, turned by 90 degrees, or of half the size."""
    if not site.is_picture:
        return None
    image = site.document
    options = {'cut': image[:-3], 'turned': np.rot90(image), 'half the size': image[::2, ::2]}
    what = rng.choice(list(options))
    return Damage(what, _encoded(site.name[-4:], np.ascontiguousarray(options[what])))


# Swapped.


def swapped_axes(value: Any, rng: random.Random, site: Site) -> Any:
    """Two entries of a list of numbers, two rows or columns of a matrix; a quaternion with its real part last."""
    if not is_numeric(value) or len(value) < 2:
        return None
    if len(value) == 4 and is_number(value[0]) and rng.random() < 0.5:
        return value[1:] + value[:1]
    first, second = rng.sample(range(min(3, len(value))), 2)
    if isinstance(value[0], list) and rng.random() < 0.5:
        for row in value:
            row[first], row[second] = row[second], row[first]
    else:
        value[first], value[second] = value[second], value[first]
    return value


def swapped_fields(site: Site, rng: random.Random) -> Damage | None:
    """Two fields of one record."""
    parent = get(site.document, site.keys[:-1])
    if not isinstance(parent, (dict, pd.DataFrame)):
        return None
    here, kind = site.keys[-1], type(site.value)
    others = [key for key in parent if key != here and isinstance(parent[key], kind)]
    if not others:
        return None
    there = rng.choice(others)
    document = copy.deepcopy(site.document)
    parent = get(document, site.keys[:-1])
    parent[here], parent[there] = copy.copy(parent[there]), copy.copy(parent[here])
    return Damage(f'swapped with {there}', document)


def swapped_records(site: Site, rng: random.Random) -> Damage | None:
    """The same field of two records."""
    others = [keys for keys in site.mates if keys != site.keys]
    if not others:
        return None
    there = rng.choice(others)
    document = copy.deepcopy(site.document)
    one, two = get(document, site.keys), get(document, there)
    return Damage(f'swapped with {there}', put(put(document, site.keys, two), there, one))


def swapped_files(site: Site, rng: random.Random) -> Damage | None:
    """What belongs into a file of another kind."""
    kind = type(site.document)
    others = [name for name, other in site.others.items() if name != site.name and not isinstance(other, kind)]
    others += [name for name in site.others if name.rpartition('.')[2] != site.name.rpartition('.')[2]]
    return Damage('content of another file', ('copy', rng.choice(others))) if others else None


# Truncated.


def truncated(value: Any, rng: random.Random, site: Site) -> Any:
    """The first half of a text, list or array."""
    if isinstance(value, (str, list)) and len(value) > 1:
        return value[: len(value) // 2]
    if isinstance(value, torch.Tensor) and value.ndim and len(value) > 1:
        return value[: len(value) // 2]
    return None


def file_truncated(site: Site, rng: random.Random) -> Damage | None:
    """Its first bytes."""
    return Damage('cut short', ('cut', rng.uniform(0.05, 0.98)))


# Duplicated.


def duplicated_entry(site: Site, rng: random.Random) -> Damage | None:
    """An entry of a list is there twice."""
    if not isinstance(site.keys[-1], int):
        return None
    document = copy.deepcopy(site.document)
    get(document, site.keys[:-1]).insert(rng.choice([site.keys[-1], len(site.mates)]), copy.deepcopy(site.value))
    return Damage('entry twice', document)


def duplicated_value(site: Site, rng: random.Random) -> Damage | None:
    """The field of another record in this one as well."""
    others = [keys for keys in site.mates if keys != site.keys]
    if not others:
        return None
    document = copy.deepcopy(site.document)
    there = rng.choice(others)
    return Damage(f'has what {there} has', put(document, site.keys, copy.deepcopy(get(document, there))))


def duplicated_name(site: Site, rng: random.Random) -> Damage | None:
    """An entry of a dict under a second name."""
    parent = get(site.document, site.keys[:-1])
    if not isinstance(parent, dict):
        return None
    document = copy.deepcopy(site.document)
    get(document, site.keys[:-1])[f'{site.keys[-1]}_copy'] = copy.deepcopy(site.value)
    return Damage('under a second name as well', document)


def duplicated_rows(site: Site, rng: random.Random) -> Damage | None:
    """Rows of a table or an array, or a picture twice side by side."""
    if site.is_picture:
        return Damage('twice side by side', _encoded(site.name[-4:], np.concatenate([site.document] * 2, axis=1)))
    if isinstance(site.document, pd.DataFrame):
        return Damage('rows twice', pd.concat([site.document, site.document.iloc[:3]], ignore_index=True))
    if isinstance(site.document, np.ndarray) and not site.name.endswith('.bin'):
        return Damage('rows twice', np.concatenate([site.document, site.document]))
    return Damage('content twice', ('twice', None))


def _encoded(suffix: str, image: np.ndarray) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


# Rules for the fields of a file, and for the file as a whole.
OPERATIONS: dict[str, tuple[list[Operation], list[Operation]]] = {
    'removed': ([at_some(removed)], [file_removed]),
    'empty': ([at_some(emptied)], [file_emptied]),
    'NaN': ([at_some(no_number)], [at_some(no_number)]),
    'wrong unit': ([at_some(wrong_unit)], [at_some(wrong_unit), picture_in_twelve_bits]),
    'wrong shape': ([at_some(wrong_shape)], [at_some(wrong_shape), picture_of_another_size]),
    'swapped': ([at_some(swapped_axes), swapped_fields, swapped_records], [swapped_files]),
    'truncated': ([at_some(truncated)], [file_truncated]),
    'duplicated': ([duplicated_entry, duplicated_value, duplicated_name], [duplicated_rows]),
}


def damage(operation: str, site: Site, rng: random.Random) -> Damage | None:
    """Apply the first rule of an operation that fits and changes something; None if none does."""
    rules = list(OPERATIONS[operation][0 if site.keys else 1])
    rng.shuffle(rules)
    if not site.keys and site.is_picture:
        rules = [rule for rule in rules if rule.__name__ not in ('no_number', 'wrong_unit', 'wrong_shape')]
    for rule in rules:
        made = rule(site, rng)
        if made is not None and not _same(made.content, site.document):
            return made
    return None


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, pd.DataFrame):
        return one.equals(other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other
