"""The shipped mappings, rules of need and schemas, read by the process that others are forked from.

They are kept by the digest of their files (`load_bundle`), so a forked gateway with other files reads those.
Reading them takes most of the start of a gateway; processes that are started from nothing read them.
"""

from __future__ import annotations

from gateway.hub.register.decision_rules import load_shipped_rules
from gateway.wire import RESULT, SUBMISSION, load_shipped_schemas

load_shipped_rules().needs.get_index()
for _entry in (SUBMISSION, RESULT):
    load_shipped_schemas(_entry)
