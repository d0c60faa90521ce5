"""Officers' acts: each becomes the signed call that an agency's system makes, through the same service."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
