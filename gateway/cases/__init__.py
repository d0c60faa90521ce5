"""What a case is and what it decides; pure."""

from __future__ import annotations
