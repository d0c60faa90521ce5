"""zeep without its asynchronous transport, requests without its guess at encodings: nobody uses them here.

Where httpx is installed, zeep loads it for that transport, and httpx loads its command line: 7 MiB in each
process. requests loads a library of 3 MiB to guess the encoding of a text that states none: what services
send is read as XML, from its octets.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any, Final

_modules: dict[str, Any] = sys.modules
_hidden: Final = [name for name in ("httpx", "chardet", "charset_normalizer") if name not in _modules]
warnings.filterwarnings("ignore", "Unable to find acceptable character detection")
try:
    # The import of a module that stands for None fails, as that of one that is not installed.
    _modules.update(dict.fromkeys(_hidden))
    import zeep
    from zeep.transports import Transport
finally:
    for _name in _hidden:
        del _modules[_name]

__all__ = ["Transport", "zeep"]
