"""The tables whose rows are compared with the evidence about them: columns alone, without the functions."""

from __future__ import annotations

from gateway.store.agency_requests import agency_requests as agency_requests
from gateway.store.cases import cases as cases
from gateway.store.customs_notices import clearances as clearances
from gateway.store.fees import fees as fees
from gateway.store.fragment_groups import fragments as fragments
from gateway.store.messages import message_payloads as message_payloads
from gateway.store.messages import messages as messages
from gateway.store.payloads import payloads as payloads
from gateway.store.transitions import evidence as evidence
from gateway.store.transitions import transitions as transitions
