"""The five proofs of mappings: totality, losslessness, least disclosure, never asked twice, agreement.

They run before a mapping is used.  Properties that follow from the text of a mapping are
proved by enumeration; the others are tested with drawn submissions.  Each breach names file,
line, field and a counter-example.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
