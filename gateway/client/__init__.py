"""The reference client of a broker: submit, pull and listen, by the same agreement as the hub."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
