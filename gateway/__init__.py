"""The single-window gateway: a trader files once, every border agency gets what it needs."""

from __future__ import annotations

__version__ = "0.1.0"
