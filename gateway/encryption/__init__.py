"""Payloads encrypted for one receiver: XML Encryption 1.1 and CMS envelopes (RFC 5652, RFC 5083).

Policies name the algorithms that are read and those that are written; anything else is refused
before a key is used. Every failure to decrypt is one problem with one wording. The ciphers are
those of the library `cryptography`.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
