"""What an agreement wants and the hub cannot do is not sent otherwise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.agreements import PMode
from gateway.agreements.pmode_values import Encryption
from gateway.errors import GatewayError
from gateway.protocols import PROTOCOLS
from tests.protocols import sample_parties

EBMS2 = PROTOCOLS["ebms2"]


@pytest.mark.parametrize(
    ("pmode", "words"),
    [(replace(sample_parties.SUBMIT, encryption=Encryption("XMLENC", ("urn:a",))), "encryption")],
)
def test_a_message_is_refused_rather_than_sent_without_what_was_agreed(pmode: PMode, words: str) -> None:
    with pytest.raises(GatewayError) as caught:
        EBMS2.seal((sample_parties.message(),), pmode, sample_parties.context())
    assert caught.value.problem.id == "GW311"
    assert words in caught.value.detail
