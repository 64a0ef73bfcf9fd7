"""Log lines of a run on the console: short ones; the log file has all of them in full."""

from __future__ import annotations

import logging
import re

# What mmengine says of its own inside, whatever a user does.
INSIDE = (
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
    'The prefix is not set in metric class',
    'Distributed training is not used',
)
# Scalars of a log line that the console shows, in this order; of several with one label the first that is there.
SHOWN = {
    'eta': 'eta',
    'psnr': 'psnr',
    'abs_rel': 'depth error',
    'lidar/abs_rel': 'depth error',
    'teacher/abs_rel': 'depth error',
    'loss': 'loss',
}
# Iter(train) [1450/1500]  lr: 2.0000e-03  eta: 1 day, 0:00:24  loss: 1.2345 ...
LOG_LINE = re.compile(r'(?:Iter|Epoch)\(\w+\) *(?:\[ *\d+\])?\[ *\d+/\d+\]')
SCALAR = re.compile(r'(\S+): (.+?)(?= +\S+: | *$)')


def is_for_console(record: logging.LogRecord) -> bool:
    """Return whether a record is more than a listing, and no notice about the inside of mmengine."""
    message = record.getMessage()
    listing = record.levelno <= logging.INFO and '\n' in message
    return not listing and not message.startswith(INSIDE)


class ConsoleFormatter(logging.Formatter):
    """Shorten log lines to what fits a terminal: iteration, time left, PSNR, depth error, total loss.

    Args:
        usual: formats what is more than information, such as warnings.
    """

    def __init__(self, usual: logging.Formatter) -> None:
        super().__init__('%(asctime)s %(message)s', datefmt='%H:%M:%S')
        self.usual = usual

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return super().format(record) if record.levelno == logging.INFO else self.usual.format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the time and the shortened message; other handlers get the record as it was."""
        return f'{record.asctime} {shorten(record.message)}'


def shorten(message: str) -> str:
    """Return a line of mmengine's ``LoggerHook`` with the scalars of :data:`SHOWN` alone; other messages as they are.

    A line that has none of them, such as the metrics of a user's own evaluator, stays whole.
    """
    head = LOG_LINE.match(message)
    if head is None:
        return message
    values = dict(SCALAR.findall(message[head.end() :]))
    shown: dict[str, str] = {}
    for name, label in SHOWN.items():
        if name in values:
            shown.setdefault(label, _short(name, values[name]))
    return '  '.join([head[0], *(f'{label}: {value}' for label, value in shown.items())]) if shown else message


def _short(name: str, value: str) -> str:
    """Return a value with three digits; a time of days without seconds."""
    return re.sub(r' days?, (\d+:\d+):\d+', r'd \1', value) if name == 'eta' else f'{float(value):.3g}'
