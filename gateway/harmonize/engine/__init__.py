"""The engine: applies mappings to a submission and returns requests, problems and the fate ledger."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
