"""Images and calibrations of one's own (``docs/OWN_DATA.md``): a folder in, ``Views`` out. Needs no mm*."""

from .folder import read_folder, write_folder

__all__ = ['read_folder', 'write_folder']
