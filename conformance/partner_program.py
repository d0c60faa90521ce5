"""What every simulated partner has imported, for a process that others are forked from.

``python -m gateway_conformance KIND`` imports what its kind needs; here is all of it together, and what they
read of the shipped files.
"""

from __future__ import annotations

from gateway_conformance import partners

for _name in dir(partners):
    getattr(partners, _name)
