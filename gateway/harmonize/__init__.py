"""Applies mappings: splits a declaration into the requests of agencies; knows none of them by name."""

from __future__ import annotations

from gateway.harmonize.bundle import Bundle, Organisation, load
from gateway.harmonize.documents import Document
from gateway.harmonize.facts import Leaf
from gateway.harmonize.ledger import Accounts, Entry
from gateway.harmonize.render import Origin
from gateway.harmonize.schemas import build
from gateway.harmonize.scopes import Fate, Trouble
from gateway.harmonize.splitting import Request, Split, compile_requests, placeholder_numbers, split

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
