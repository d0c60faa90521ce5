"""The evidence of messages, their senders and their times, as leaves of a Merkle tree."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
