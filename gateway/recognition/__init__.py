"""Mutual recognition: whom the authorities of others admit, as data that is signed.

Trusted lists (ETSI TS 119 612, and our own form), bridges and vouching gateways.  Pure: lists
come as octets that somebody fetched, the moment is given, nothing is kept here.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
