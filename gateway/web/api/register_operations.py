"""The operation on the register: the certificates that are registered for the caller."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pydantic import Field

from gateway.store import parties, read_transaction
from gateway.web.api.api_operations import Answer, ApiAnswer, ApiCall, Operation
from gateway.web.api.model_bases import AnswerModel

__all__ = ["REGISTER_OPERATIONS"]


class RegisteredCertificate(AnswerModel):
    """A certificate that the caller may use."""

    sha256: str = Field(description="SHA-256 of its DER octets; the `kid` of an assertion by its key.")
    use: str = Field(json_schema_extra={"enum": ["signing", "encryption", "tls"]})
    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    valid_from: datetime | None = Field(None, description="From when the operator accepts it, if later.")
    valid_until: datetime | None = Field(None, description="Until when the operator accepts it, if earlier.")


class CertificateList(AnswerModel):
    """The certificates of the caller."""

    certificates: list[RegisteredCertificate]


def _list_certificates(call: ApiCall) -> ApiAnswer:
    with read_transaction(call.services.engine) as conn:
        rows = parties.list_certificates(conn, call.party)
    names = RegisteredCertificate.model_fields
    found = [RegisteredCertificate(**{name: getattr(row, name) for name in names}) for row in rows]
    return ApiAnswer(CertificateList(certificates=found))


REGISTER_OPERATIONS: Final = (
    Operation(
        id="listCertificates",
        method="GET",
        path="/certificates",
        tag="register",
        summary="List the certificates that are registered for the caller, the one with the latest end first",
        handle=_list_certificates,
        answers=(Answer(200, "The certificates", CertificateList),),
    ),
)
