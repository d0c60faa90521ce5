"""Reads and validates the settings: one TOML file, every key with its default and its description.

Relative paths start at the home folder, and a relative home folder starts at the folder of the
file. Unknown keys are errors. A secret is never written in the file: the file names its place as
``{ file = "…" }`` or ``{ env = "…" }``.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
