"""Agreements of two parties: P-Modes, the index that finds them, and the file they are read from."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
