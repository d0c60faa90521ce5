"""The order of the messages of a conversation, and how many conversations an agreement allows."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
