"""XML signatures by fixed profiles: what exactly was signed, and with which certificate.

Every profile (ebMS 2.0, WS-Security, XAdES) names the references, transforms, key sources and
algorithms that it accepts; anything else is refused, never skipped. This package does not
decide whether the certificate is trusted.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
