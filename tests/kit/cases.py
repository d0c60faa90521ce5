"""Many open cases at once, made straight in the database: for races and for orders of arrival."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from gateway.cases import AgencyAnswer, AgencyCallback
from gateway.hub import Hub, apply_call_back
from gateway.store import StateEvent, agency_requests, cases, payloads
from tests.kit.house import START


@dataclass(frozen=True)
class OpenCase:
    """One case in progress with the number that each agency knows its application by."""

    id: int
    numbers: dict[str, str]

    def hear(self, hub: Hub, agency: str, answer: AgencyAnswer) -> None:
        """Let an agency call back."""
        apply_call_back(hub, agency, AgencyCallback(answer, self.numbers[agency]))


def open_case(
    conn: Connection, message: int, number: int, asked: dict[str, list[tuple[int, str]]]
) -> OpenCase:
    """Open a case of a stored message that asks each agency about these items under these laws."""
    items = sorted({item for pairs in asked.values() for item, _ in pairs})
    new = cases.NewCase(
        number=f"SW26X{number:06d}",
        document="IMA",
        function="9",
        declarant="broker1",
        applicant="broker1",
        functional_reference=f"RACE-{number}",
        message=message,
        detail={"items": items},
    )
    case = cases.open_case(conn, new, START).id
    numbers = {}
    for position, (agency, pairs) in enumerate(asked.items(), start=1):
        numbers[agency] = f"X{number:09d}{position:03d}"
        agency_requests.insert_request(
            conn,
            agency_requests.NewAgencyRequest(
                case_id=case,
                number=numbers[agency],
                application=f"A{position}",
                agency=agency,
                document=f"{agency}-DOC",
                sequence=position,
                mapping="m",
                mapping_version="1",
                mapping_sha256="0" * 64,
                document_sha256=payloads.store_payload(conn, b"<Document/>", START),
                required=[list(pair) for pair in pairs],
            ),
        )
    cases.apply_event(conn, case, StateEvent("dispatch", START, "test"))
    return OpenCase(case, numbers)


__all__ = ["OpenCase", "open_case"]
