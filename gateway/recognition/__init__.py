"""Mutual recognition: the authorities and signers that other countries admit, as signed data.

Trusted lists (ETSI TS 119 612, and our own form), bridges and vouching gateways. The package
fetches and stores nothing and reads no clock: the caller supplies lists as octets, and the
time.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
