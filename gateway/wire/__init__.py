"""Conversion between octets and XML trees, within limits; independent of every protocol above SOAP."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
