"""The API for the software of traders and brokers: ``/api/v1``, described by an OpenAPI document."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
