"""A bundle file is read as it was written, with the days of its use or without them."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from gateway.errors import GatewayError
from gateway.harmonize import PROOFS, ProofReport
from gateway.harmonize.proofs.proof_report import BoxCount, ProofVerdict
from gateway.hub import BundleTerms
from gateway.hub.register.bundle_file import read_bundle_file, write_bundle_file
from gateway.wire import DS

MADE = datetime(2026, 1, 1, tzinfo=UTC)
FIRST, LAST = date(2026, 3, 1), datetime(2026, 3, 31, 15, tzinfo=UTC)


REPORT = ProofReport(
    documents=("D",),
    organisations=(),
    verdicts={name: ProofVerdict(True, number) for number, name in enumerate(PROOFS)},
    findings=(),
    notes=(),
    boxes=BoxCount(1, 1, 1, 1),
    submissions=7,
)


@pytest.mark.parametrize("ends", [None, LAST])
@pytest.mark.parametrize("starts", [None, FIRST])
def test_the_days_of_use_are_read_as_they_were_written(starts: date | None, ends: date | None) -> None:
    terms = BundleTerms("0" * 64, MADE, starts, ends)
    found = read_bundle_file(write_bundle_file(terms, b"content", REPORT, 7, None))
    assert (found.terms, found.archive, found.samples, found.signer) == (terms, b"content", 7, None)
    assert [(one.holds, one.checked) for one in found.proofs.values()] == [
        (True, number) for number in range(len(PROOFS))
    ]


def test_a_fault_of_a_signature_names_its_place() -> None:
    octets = write_bundle_file(BundleTerms("0" * 64, MADE), b"content", REPORT, 7, None)
    unsigned = f'<ds:Signature xmlns:ds="{DS}"/></MappingBundle>'.encode()
    with pytest.raises(GatewayError) as caught:
        read_bundle_file(octets.replace(b"</MappingBundle>", unsigned))
    assert (caught.value.problem.id, caught.value.location) == ("GW515", "/MappingBundle/ds:Signature")
    with pytest.raises(GatewayError) as caught:
        read_bundle_file(b"<MappingBundle")
    assert caught.value.problem.id == "GW515"
