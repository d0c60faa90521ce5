"""What is happening: health, metrics, log."""

from __future__ import annotations
