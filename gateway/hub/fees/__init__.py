"""Fees: levied by agencies or by the hub, paid at the payment provider, confirmed, cancelled, given back."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
