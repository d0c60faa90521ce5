"""Reports of a run of a suite: JSON, JUnit XML, and one HTML page with every exchange."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
