"""Samples: valid random submissions and notices, drawn for the proofs and for those who try a document."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
