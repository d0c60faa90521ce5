"""The single-window gateway: a trader files once, every border agency gets what it needs."""

from __future__ import annotations

__version__ = "1.0.0"

#: The User-Agent of every HTTP request (RFC 9110 §10.1.5): firewalls refuse requests without one.
USER_AGENT = f"singlewindow-gateway/{__version__}"
