"""What operators see and do: findings, reports, and acts with their audit, for verbs and for the console."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
