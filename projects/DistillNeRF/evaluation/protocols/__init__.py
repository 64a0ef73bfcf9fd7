"""Protocols: published ways to measure, by name. Plain code on times and places, without OpenMMLab."""

from __future__ import annotations

from ...utils.errors import InputError
from .base import Choice, Frame, Protocol, Sample
from .keyframes import DistillNeRFProtocol, DrivingForwardMF, DrivingForwardSF
from .omniscene import OmniScene
from .storm import Storm
from .true_views import TrueViewsProtocol

__all__ = ['PAPER_PROTOCOL', 'PROTOCOLS', 'Choice', 'Frame', 'Protocol', 'Sample', 'protocol_named']

# The one of the paper's figures (:mod:`..paper`).
PAPER_PROTOCOL = DistillNeRFProtocol.name
# Name of ``tools/test.py --protocol`` -> protocol.
PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        *(DistillNeRFProtocol(), OmniScene(), DrivingForwardSF(), DrivingForwardMF()),
        *(Storm(), TrueViewsProtocol()),
    )
}


def protocol_named(name: str) -> Protocol:
    """Return a protocol.

    Raises:
        InputError: there is none of that name.
    """
    if name not in PROTOCOLS:
        raise InputError(f'protocol {name!r}: no such protocol; choose from {", ".join(PROTOCOLS)}')
    return PROTOCOLS[name]
