"""Deadlines of cases: which timetable is in force, what is due when, and what happens when it passes."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
