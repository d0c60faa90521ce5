"""Large messages in fragments: each is taken as a message, and the last one lets them be joined."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
