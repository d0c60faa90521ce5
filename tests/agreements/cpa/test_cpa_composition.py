"""Two profiles become a proposed agreement of what they have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.agreements import compose_cpa, convert_cpa, judge_cpa, read_cpa
from gateway.cli import main
from gateway.errors import GatewayError
from tests.agreements.cpa.written_cpa import NOW, write_cpa

PERIOD = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2029, 1, 1, tzinfo=UTC))


def write_profile(number: int, *changes: tuple[str, str], nested: bool = False) -> bytes:
    """Return the profile of one party of the good agreement."""
    text = write_cpa(*changes, nested=nested).decode()
    head, first, rest = text.partition("<tp:PartyInfo ")
    one, second, tail = rest.partition("<tp:PartyInfo ")
    other, end, last = tail.partition("</tp:PartyInfo>")
    party = first + one if number == 0 else second + other + end
    text = head.partition("<tp:Status")[0].replace("tp:cpaid", "tp:cppid") + party + last
    return text.replace("CollaborationProtocolAgreement", "CollaborationProtocolProfile").encode()


@pytest.mark.parametrize("nested", [False, True])
def test_two_profiles_become_the_agreement_that_they_came_from(nested: bool) -> None:
    profiles = tuple((write_profile(number, nested=nested), f"{number}.xml") for number in (0, 1))
    data = compose_cpa((profiles[0], profiles[1]), "urn:example:cpa:1", PERIOD)
    judged = judge_cpa(data, "proposal.xml", NOW)
    assert judged.document is not None
    assert judged.document.status == "proposed"
    errors = [one.rule for one in judged.findings if one.severity == "error"]
    assert errors == ["status-proposed"]
    wanted = convert_cpa(read_cpa(write_cpa(nested=nested), "a.xml"))
    found = {one.id: one for one in convert_cpa(judged.document)}
    assert {
        one.id: (one.action, one.endpoint, one.security, one.reliability, one.answers) for one in wanted
    } == {
        name: (one.action, one.endpoint, one.security, one.reliability, one.answers)
        for name, one in found.items()
    }


def test_what_only_one_has_is_left_out_and_nothing_in_common_is_refused() -> None:
    other = write_profile(1, ('tp:action="OrderResponse"', 'tp:action="Other"'))
    data = compose_cpa(((write_profile(0), "a.xml"), (other, "b.xml")), "c", PERIOD)
    assert [one.action for one in convert_cpa(read_cpa(data, "c.xml"))] == ["Order"]
    stranger = write_profile(1, ("urn:example:service:order", "urn:example:service:other"))
    with pytest.raises(GatewayError) as caught:
        compose_cpa(((write_profile(0), "a.xml"), (stranger, "b.xml")), "c", PERIOD)
    assert caught.value.problem.id == "GW313"


def test_the_verb_writes_a_proposal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (0, 1):
        (tmp_path / f"{number}.xml").write_bytes(write_profile(number))
    words = ["agreement", "compose", *(str(tmp_path / f"{number}.xml") for number in (0, 1)), "--id", "c"]
    period = ["--start", "2026-01-01T00:00:00Z", "--end", "2029-01-01T00:00:00Z"]
    assert main([*words, *period, "--out", str(tmp_path / "c.xml")]) == 0
    assert "Agreement c is proposed in " in capsys.readouterr().out
    assert read_cpa((tmp_path / "c.xml").read_bytes(), "c.xml").id == "c"
    assert main([*words, "--start", period[3], "--end", period[1], "--out", str(tmp_path / "d.xml")]) == 2
