"""Contain the HTTP server side: requests become parcels, and the hub is called with them."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
