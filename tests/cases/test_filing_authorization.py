"""Who may file for whom."""

from __future__ import annotations

import pytest

from gateway.cases import Filing, FilingRegister, authorize_filing
from gateway.errors import GatewayError

OWNERS = {"D1": {"trader"}, "A1": {"agent"}, "X1": {"stranger"}, "BOTH": {"trader", "twin"}}
MANDATES = {("agent", "trader"), ("carrier", "trader")}
REGISTER = FilingRegister(
    find_owners=lambda value: frozenset(OWNERS.get(value, ())),
    has_mandate=lambda holder, principal: (holder, principal) in MANDATES,
)


def filing(declarant: str, agent: str | None, signer: str, sender: str | None = None) -> Filing:
    return Filing(declarant, agent, signer, sender or signer)


@pytest.mark.parametrize(
    "allowed",
    [
        filing("D1", None, "trader"),
        filing("D1", "A1", "trader"),
        filing("D1", "A1", "agent"),
        filing("D1", None, "trader", "carrier"),
        filing("D1", "A1", "agent", "carrier"),
        filing("D1", "A1", "agent", "trader"),
        filing("BOTH", None, "trader"),
        filing("BOTH", "A1", "agent"),
    ],
)
def test_declarant_or_mandated_agent_may_file(allowed: Filing) -> None:
    assert authorize_filing(allowed, REGISTER) == "trader"


@pytest.mark.parametrize(
    ("refused", "location"),
    [
        (filing("NOBODY", None, "trader"), "Declarant/ID"),
        (filing("D1", None, "agent"), "Declarant/ID"),
        (filing("D1", "X1", "agent"), "Agent/ID"),
        (filing("D1", "X1", "stranger"), "Agent/ID"),
        (filing("X1", "A1", "agent"), "Agent/ID"),
        (filing("D1", None, "trader", "stranger"), "Declarant/ID"),
        (filing("D1", "A1", "agent", "stranger"), "Declarant/ID"),
    ],
)
def test_everyone_else_may_not(refused: Filing, location: str) -> None:
    with pytest.raises(GatewayError) as caught:
        authorize_filing(refused, REGISTER)
    assert (caught.value.problem.id, caught.value.location) == ("GW405", location)
