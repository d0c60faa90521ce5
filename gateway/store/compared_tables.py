"""The tables whose rows are compared with the evidence about them: columns alone, without the functions."""

from __future__ import annotations

from gateway.store.agency_requests import agency_requests as agency_requests
from gateway.store.cases import cases as cases
from gateway.store.customs_notices import clearances as clearances
from gateway.store.customs_notices import customs_notices as customs_notices
from gateway.store.fees import fee_movements as fee_movements
from gateway.store.fees import fees as fees
from gateway.store.fragment_groups import fragments as fragments
from gateway.store.item_releases import item_releases as item_releases
from gateway.store.messages import message_payloads as message_payloads
from gateway.store.messages import messages as messages
from gateway.store.officer_work import officer_acts as officer_acts
from gateway.store.payloads import payloads as payloads
from gateway.store.requirement_quantities import IS_USE as IS_USE
from gateway.store.requirement_quantities import requirement_uses as requirement_uses
from gateway.store.requirement_quantities import requirements as requirements
from gateway.store.requirement_results import requirement_results as requirement_results
from gateway.store.transitions import evidence as evidence
from gateway.store.transitions import transitions as transitions
