"""What one submission says, as the engine reads it: values by field, scopes of evaluation, problems found."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
