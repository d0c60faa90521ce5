"""Applies mappings: splits a declaration into the requests of agencies; knows none of them by name."""

from __future__ import annotations

from gateway.harmonize.applying.ledger import Accounts, Entry
from gateway.harmonize.applying.render import Origin
from gateway.harmonize.applying.splitting import Request, Split, compile_requests, placeholder_numbers, split
from gateway.harmonize.building.schemas import build
from gateway.harmonize.given.facts import Leaf
from gateway.harmonize.given.scopes import Fate, Trouble
from gateway.harmonize.language.bundle import Bundle, Organisation, load
from gateway.harmonize.language.documents import Document

__all__ = [
    "Accounts",
    "Bundle",
    "Document",
    "Entry",
    "Fate",
    "Leaf",
    "Organisation",
    "Origin",
    "Request",
    "Split",
    "Trouble",
    "build",
    "compile_requests",
    "load",
    "placeholder_numbers",
    "split",
]
