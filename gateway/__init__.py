"""The single-window gateway: a trader files once, and every border agency gets the data that it needs."""

from __future__ import annotations

__version__ = "1.0.0"

#: The User-Agent of every HTTP request (RFC 9110 §10.1.5): firewalls refuse requests without one.
USER_AGENT = f"singlewindow-gateway/{__version__}"
