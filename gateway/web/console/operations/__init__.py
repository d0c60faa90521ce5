"""Pages of operators: what is so now, searches, acts with their reasons, knowledge, and the public status."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
