"""The use cases in the order of the story; each is one transaction.

`receive` takes a parcel in, `admit` opens a case from it, `reply` takes what an agency
says, `conclude` makes one result of it, `relay` notes that it has arrived.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
