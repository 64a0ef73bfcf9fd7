"""Which segments of Waymo are NeRF On-The-Road (NOTR), the 120 segments that the paper's Waymo figures are of.

NOTR numbers the training segments of Waymo's perception data, version 1, by their names in byte order, from 0. Its
three parts are known by these numbers; of the static one the names are known, too, and tell whether a list of segments
has the same order. No list of all names is kept here: that of the bucket has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..utils.errors import InputError
from ..utils.files import require_file

# Training segments of version 1.
COUNT = 798
# Number -> name.
STATIC32 = {
    3: '10061305430875486848_1080_000_1100_000',
    19: '10275144660749673822_5755_561_5775_561',
    36: '10676267326664322837_311_180_331_180',
    69: '11379226583756500423_6230_810_6250_810',
    81: '1172406780360799916_1660_000_1680_000',
    126: '12879640240483815315_5852_605_5872_605',
    139: '13085453465864374565_2040_000_2060_000',
    140: '13142190313715360621_3888_090_3908_090',
    146: '13196796799137805454_3036_940_3056_940',
    148: '13238419657658219864_4630_850_4650_850',
    157: '13476374534576730229_240_000_260_000',
    181: '14004546003548947884_2331_861_2351_861',
    200: '14348136031422182645_3360_000_3380_000',
    204: '14424804287031718399_1281_030_1301_030',
    226: '14869732972903148657_2420_000_2440_000',
    232: '15062351272945542584_5921_360_5941_360',
    237: '15221704733958986648_1400_000_1420_000',
    241: '15270638100874320175_2720_000_2740_000',
    245: '15349503153813328111_2160_000_2180_000',
    246: '15365821471737026848_1160_000_1180_000',
    271: '15868625208244306149_4340_000_4360_000',
    297: '16345319168590318167_1420_000_1440_000',
    302: '16470190748368943792_4369_490_4389_490',
    312: '16608525782988721413_100_000_120_000',
    314: '16646360389507147817_3320_000_3340_000',
    362: '17761959194352517553_5448_420_5468_420',
    482: '3224923476345749285_4480_000_4500_000',
    495: '3425716115468765803_977_756_997_756',
    524: '3988957004231180266_5566_500_5586_500',
    527: '4058410353286511411_3980_000_4000_000',
    753: '8811210064692949185_3066_770_3086_770',
    780: '9385013624094020582_2547_650_2567_650',
}
DYNAMIC32 = (
    *(16, 21, 22, 25, 31, 34, 35, 49, 53, 80, 84, 86, 89, 94, 96, 102),
    *(111, 222, 323, 382, 402, 427, 438, 546, 581, 592, 620, 640, 700, 754, 795, 796),
)
# The car stands, dusk and dawn, gloomy, exposures that differ, night, rain, high speed: eight of each.
DIVERSE56 = (
    *(1, 23, 24, 37, 66, 108, 114, 115),
    *(124, 147, 206, 213, 574, 680, 696, 737),
    *(47, 205, 220, 284, 333, 537, 699, 749),
    *(58, 93, 143, 505, 545, 585, 765, 766),
    *(7, 15, 30, 51, 130, 133, 159, 770),
    *(44, 56, 244, 449, 688, 690, 736, 738),
    *(2, 41, 46, 62, 71, 73, 82, 83),
)
SPLITS: dict[str, tuple[int, ...]] = {
    'static32': tuple(STATIC32),
    'dynamic32': DYNAMIC32,
    'diverse56': DIVERSE56,
}
_NAME = re.compile(r'\d+_\d+_\d{3}_\d+_\d{3}')


def segment_name(text: str) -> str | None:
    """Return the name of the segment in a name, file name or address; None if there is none."""
    found = _NAME.search(text)
    return found[0] if found else None


def read_wanted(path: Path) -> list[str]:
    """Read a list of segments, one on each line: a name, file name or address, or a number of NOTR's order.

    What follows a comma or ``#`` does not matter.

    Returns:
        names and numbers, as text, each once.

    Raises:
        InputError: no file, no text, a line that is neither, or none at all.
    """
    hint = 'give a text file with the name or number of a segment on each line'
    try:
        lines = require_file(path, hint).read_text().splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f'{path}: is no text ({error}); {hint}') from error
    wanted = []
    for number, line in enumerate(lines, 1):
        word = line.partition('#')[0].partition(',')[0].strip()
        if word and not (word.isdecimal() or segment_name(word)):
            raise InputError(f'{path}: line {number}, {word[:60]!r}, is no name or number of a segment; {hint}')
        wanted += [segment_name(word) or word] if word else []
    if not wanted:
        raise InputError(f'{path}: names no segment; {hint}')
    return list(dict.fromkeys(wanted))


def read_splits(splits: Iterable[str], folder: Path) -> list[str]:
    """Return the names of the segments of parts of NOTR, and of lists.

    Args:
        splits: keys of :data:`SPLITS`, and files (:func:`read_wanted`).
        folder: where ``tools/download_waymo.py`` left the lists of the parts, ``PART.txt``.

    Raises:
        InputError: a bad list, or a part whose names cannot be told.
    """
    names = []
    for split in splits:
        path = folder / f'{split}.txt' if split in SPLITS else Path(split)
        wanted = list(map(str, SPLITS.get(split, ()))) if split in SPLITS and not path.is_file() else read_wanted(path)
        if unknown := [word for word in wanted if word.isdecimal() and int(word) not in STATIC32]:
            hint = f'tools/download_waymo.py --splits {split} --out {folder} writes it, or give a file of names'
            raise InputError(f'{path}: the name of segment number {unknown[0]} is not known without this list; {hint}')
        names += names_of(wanted, None, str(path))
    return list(dict.fromkeys(names))


def names_of(wanted: Iterable[str], training: Sequence[str] | None, where: str) -> list[str]:
    """Return the names of segments.

    Args:
        wanted: names and numbers.
        training: names of all training segments, in any order; None: unknown, so numbers of the static part alone
            can be told.
        where: where they are listed, for messages.

    Raises:
        InputError: a number that cannot be told, or a list that has not NOTR's order.
    """
    wanted = list(wanted)
    numbers = [int(word) for word in wanted if word.isdecimal()]
    if large := [number for number in numbers if number >= COUNT]:
        raise InputError(f'segment number {large[0]}: the numbers are 0 to {COUNT - 1}; correct it')
    if training is None:
        known: dict[int, str] = STATIC32
        if unknown := [number for number in numbers if number not in known]:
            raise InputError(
                f'segment number {unknown[0]}: its name is in the list of the bucket alone; install gcloud '
                '(https://cloud.google.com/sdk), or give a saved list with --listing'
            )
    else:
        known = dict(enumerate(sorted(set(training)))) if numbers else {}
        _check_order(known, where)
    names = [known[int(word)] if word.isdecimal() else word for word in wanted]
    return list(dict.fromkeys(names))


def _check_order(known: dict[int, str], where: str) -> None:
    """Check that a list is that of the segments that NOTR numbers.

    Raises:
        InputError: it is not.
    """
    if known and len(known) != COUNT:
        raise InputError(
            f'{where}: lists {len(known)} segments, and NOTR numbers {COUNT} training segments; give the list of all '
            'of them, or names instead of numbers'
        )
    if wrong := [number for number, name in STATIC32.items() if known and known[number] != name]:
        raise InputError(
            f'{where}: segment number {wrong[0]} is {known[wrong[0]]}, in NOTR {STATIC32[wrong[0]]}; give the list of '
            'the training segments of version 1, or names instead of numbers'
        )
