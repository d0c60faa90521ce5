"""Findings and reports for operators, and their acts with audit: for verbs and for the console."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
