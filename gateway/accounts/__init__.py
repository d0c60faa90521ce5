"""Accounts of people: roles and rights, passwords, sessions, limits of sign-in; pure functions."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
