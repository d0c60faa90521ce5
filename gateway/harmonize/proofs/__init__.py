"""Proves of mappings, before they are used, that nothing is lost, leaked, asked twice or told in two ways.

Five proofs: totality, losslessness, least disclosure, never asked twice, agreement.  What the
text of a mapping tells is enumerated; what only running tells is tried over drawn
submissions.  Each breach names file, line, field and a counter-example.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
