"""``python -m tests.cluster``: prints a table of the rows; progress goes to standard error."""

from __future__ import annotations

import sys

from tests.cluster.run import main

if __name__ == "__main__":
    sys.exit(main())
