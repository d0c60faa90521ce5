"""Whom the hub believes: registered certificates, lists in hand, recognition, verdicts kept."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
