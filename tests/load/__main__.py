"""``python -m tests.load``: prints what was measured; progress goes to standard error."""

from __future__ import annotations

import sys

from tests.load.run import main

sys.exit(main())
