"""``python -m tests.system.attacked``: prints what was measured; progress goes to standard error."""

from __future__ import annotations

import sys

from tests.system.attacked.run import main

if __name__ == "__main__":
    sys.exit(main())
