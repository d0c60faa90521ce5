"""What customs says of a case: its answers to our calls, how clearance ended, and what came after that."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
