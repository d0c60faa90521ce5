"""Agreements as CPA documents of CPPA 2.0: reader, conversion into P-Modes and back, rules."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
