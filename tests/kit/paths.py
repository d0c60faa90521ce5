"""Where the checkout, its manual and the outside vectors are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

__all__ = ["MANUAL", "ROOT", "VECTORS"]

ROOT: Final = Path(__file__).resolve().parent.parent.parent
MANUAL: Final = ROOT / "gateway" / "manual"
VECTORS: Final = Path(os.environ.get("GATEWAY_VECTORS", ROOT.parent / "shared"))
