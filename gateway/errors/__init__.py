"""All problems of the gateway, in one table.

A problem is a row of the table: its id never changes, its texts help the reader, and its
codes say how each protocol reports it. No other error codes exist in the gateway: packages
raise :class:`GatewayError` with a problem of this table, and only the edges (``protocols.*``,
``web``, ``cli``) convert it to an answer.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
