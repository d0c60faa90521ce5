"""The workbench of authors of mappings: imports an inventory, draws a mapping. No hub needs it."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
