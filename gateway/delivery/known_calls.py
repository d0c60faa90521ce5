"""Signs calls whose envelopes are like those that were signed before, but for what is in the Body.

The octets are those that `sign_soap_envelope` and the serialisation of the whole tree give. The first call is
signed so, and what it has in common with others is learned as that of an answer is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from gateway.errors import GatewayError
from gateway.pki import Signer
from gateway.protocols import (
    SignatureMoment,
    SoapForm,
    holds_unknown_content,
    learn_soap_form,
    sign_by_form,
)
from gateway.wire import (
    SplitEnvelope,
    TextTemplate,
    ValuePlace,
    make_template,
    match_template,
    read_own_element,
    split_at_body,
)

__all__ = ["KnownCalls", "WrittenCall"]

#: Keys and addresses, and envelopes of each.
_MOST_KEYS: Final = 256
_MOST_FORMS: Final = 16
#: After so many calls of a key that have no form, no further one is tried: each takes four times as long.
_MOST_FAILED: Final = 4


class WrittenCall(NamedTuple):
    """A signed call: its MessageID and action, the name of its request, and its octets."""

    message_id: str
    action: str
    request: str
    octets: bytes


@dataclass(frozen=True, slots=True)
class _CallForm:
    """A call as it is stored, with an empty Body, and as it is signed."""

    stored: TextTemplate
    signed: SoapForm


class KnownCalls:
    """Forms of signed calls by key and address, a bounded number; safe to share between threads."""

    def __init__(self) -> None:
        self._forms: dict[object, tuple[_CallForm | None, ...]] = {}

    def sign_call(
        self, envelope: bytes, signer: Signer, now: datetime, address: str | None
    ) -> WrittenCall | None:
        """Return a call of ours, signed; None where none like it is known, or it is not one of ours."""
        split = split_at_body(envelope)
        if split is None or holds_unknown_content(split.content):
            return None
        for form in self._forms.get(_make_key(signer, address), ()):
            found = None if form is None else match_template(form.stored, split.hollow, 1)
            if form is not None and found is not None:
                return _sign_by_form(form, found[0], split.framed, (signer, now))
        return None

    def remember_call(
        self, envelope: bytes, signed: WrittenCall, signer: Signer, address: str | None
    ) -> None:
        """Learn the form of a call of ours that was signed, or that it has none.

        Nothing is learned of one whose Body nothing is known of: the next one may have another Body.
        """
        stored = split_at_body(envelope)
        key = _make_key(signer, address)
        known = self._forms.get(key, ())
        if stored is None or holds_unknown_content(stored.content) or known.count(None) >= _MOST_FAILED:
            return
        if len(self._forms) >= _MOST_KEYS:
            self._forms.clear()
        self._forms[key] = (_learn_form(stored, signed), *known[: _MOST_FORMS - 1])


def _make_key(signer: Signer, address: str | None) -> object:
    return signer.certificate.sha256, signer.algorithm, address


def _sign_by_form(
    form: _CallForm, message_id: bytes, framed: bytes, by: tuple[Signer, datetime]
) -> WrittenCall | None:
    try:
        root = read_own_element(framed)
    except GatewayError:
        return None
    request = next(root[0].iterchildren("*"), None)
    if request is None:
        return None
    octets = sign_by_form(form.signed, root, (message_id, None), SignatureMoment(*by))
    if octets is None:
        return None
    return WrittenCall(message_id.decode(), form.signed.action, str(request.tag), octets)


def _learn_form(stored: SplitEnvelope, signed: WrittenCall) -> _CallForm | None:
    """Return the form of a call that was signed; None where another way would not give its octets."""
    place = ValuePlace(0, b">", signed.message_id.encode(), b"<")
    template = make_template(stored.hollow, [place])
    if template is None or len(template.numbers) != 1:
        return None
    form = learn_soap_form(signed.octets, read_own_element(stored.framed))
    return None if form is None else _CallForm(template, form)
