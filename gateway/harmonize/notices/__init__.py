"""Reads the notices of organisations: inverts the mapping language to turn elements into facts."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
