"""Rules of need: which laws ask documents for goods, by tariff code, direction, origin, use and date."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
