"""HTTP in: turns requests into parcels and calls the hub."""

from __future__ import annotations
