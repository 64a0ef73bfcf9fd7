"""A rig of your own (``docs/OWN_DATA.md``): a folder of images and calibrations in, ``Views`` out. Needs no mm*."""

from .folder import read_folder, tell_of_unused_images, write_folder

__all__ = ['read_folder', 'tell_of_unused_images', 'write_folder']
