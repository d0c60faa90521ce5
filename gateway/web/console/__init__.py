"""The console: pages for officers of agencies, for traders and brokers, and for operators."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
