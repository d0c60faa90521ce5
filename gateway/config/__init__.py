"""Reads and checks the settings: one TOML file, every key with its default and its sentence.

Relative paths start at the home folder, and the home folder, when relative, at the folder
of the file.  Unknown keys are errors.  A secret is never written in the file: it is named
as ``{ file = "…" }`` or ``{ env = "…" }``.
"""

from __future__ import annotations

from gateway.config.describing import Key, describe
from gateway.config.fetching import Fetch
from gateway.config.limits import Limits
from gateway.config.partners import Agency, Customs
from gateway.config.pki import Next, Pki
from gateway.config.reading import load
from gateway.config.secret import Secret
from gateway.config.settings import Settings
from gateway.config.stamping import TimeStamps
from gateway.config.tls import Tls, key_file

__all__ = [
    "Agency",
    "Customs",
    "Fetch",
    "Key",
    "Limits",
    "Next",
    "Pki",
    "Secret",
    "Settings",
    "TimeStamps",
    "Tls",
    "describe",
    "key_file",
    "load",
]
