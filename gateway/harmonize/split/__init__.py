"""Splits a submission: its index, the requests made of it, problems, and the fate of each value."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
