"""XML signatures by fixed profiles: what exactly was signed, and with which certificate.

Every profile (ebMS 2.0, WS-Security, XAdES) names the references, transforms, key
sources and algorithms that it takes; whatever it does not name is refused, never
skipped.  Whether the certificate is to be trusted is not judged here.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
