"""The language of mappings: YAML, lists, fields, sources, targets, checks, notices, and their bundle."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
