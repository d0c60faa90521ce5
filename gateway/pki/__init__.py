"""Is this certificate good, for this use, at this moment."""

from __future__ import annotations
