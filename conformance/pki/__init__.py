"""The sandbox authority: makes and revokes the certificates of demonstrations, practice and tests."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
