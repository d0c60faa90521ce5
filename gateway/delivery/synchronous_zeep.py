"""zeep without its asynchronous transport, which nobody uses here.

Where httpx is installed, zeep loads it for that transport, and httpx loads its command line: 7 MiB in each
process.
"""

from __future__ import annotations

import sys
from typing import Any, Final

_ABSENT: Final = "httpx"
_modules: dict[str, Any] = sys.modules
_is_hidden: Final = _ABSENT not in _modules
if _is_hidden:
    # The import of a module that stands for None fails, as that of one that is not installed.
    _modules[_ABSENT] = None
try:
    import zeep
    from zeep.transports import Transport
finally:
    if _is_hidden:
        del _modules[_ABSENT]

__all__ = ["Transport", "zeep"]
