"""One row of the table of TLS: who connects to whom how, what must come of it, what came of it."""

from __future__ import annotations

import ssl
import warnings
from dataclasses import dataclass

#: The handshake was refused: nothing was read from the client, or nothing sent to the server.
REFUSED = "no handshake"
TAKEN = "taken"


@dataclass(frozen=True, slots=True)
class Row:
    """What was tried, and what came of it."""

    who: str
    expected: str
    seen: str

    @property
    def good(self) -> bool:
        """Tell whether it came as it must."""
        return self.seen == self.expected


def only(context: ssl.SSLContext, version: ssl.TLSVersion, suites: str | None = None) -> ssl.SSLContext:
    """Let a context speak one version alone, the old ones with all that they take."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = version
        context.minimum_version = version
    context.set_ciphers(suites or "ALL:@SECLEVEL=0")
    return context
