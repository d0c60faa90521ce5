"""Calendars of working days, and the terms of documents, for computing due times. No clock is read."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
