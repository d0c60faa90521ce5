"""Signs calls whose envelopes are like those that were signed before, but for what is in the Body.

The octets are those that `sign_soap_envelope` and the serialisation of the whole tree give. The first call is
signed so, and what it has in common with others is learned as that of an answer is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from lxml import etree

from gateway.delivery.known_answers import ANSWERS, UNKNOWN_CONTENT
from gateway.errors import GatewayError
from gateway.pki import Signer
from gateway.protocols import KnownEnvelope, ValueNumbers, learn_envelope, read_known_envelope
from gateway.wire import (
    DEFAULT_LIMITS,
    WSU,
    TextTemplate,
    ValuePlace,
    canonicalize_element,
    fill_template,
    make_template,
    match_template,
    read_own_element,
    serialize_element,
    split_at_body,
)
from gateway.xmlsec import DEFAULT_WINDOW, STRICT, sign_known_values, write_moment

__all__ = ["KnownCalls", "WrittenCall"]

_ID: Final = f"{{{WSU}}}Id"
#: Keys and addresses, and envelopes of each.
_MOST_KEYS: Final = 256
_MOST_FORMS: Final = 16


class WrittenCall(NamedTuple):
    """A signed call: its MessageID and action, the name of its request, and its octets."""

    message_id: str
    action: str
    request: str
    octets: bytes


@dataclass(frozen=True, slots=True)
class _CallForm:
    """A call as it is stored, with an empty Body, and as it is signed, with all its values."""

    stored: TextTemplate
    signed: KnownEnvelope[Any]
    values: tuple[bytes, ...]


class KnownCalls:
    """Forms of signed calls by key and address, a bounded number; safe to share between threads."""

    def __init__(self) -> None:
        self._forms: dict[object, tuple[_CallForm, ...]] = {}

    def sign_call(
        self, envelope: bytes, signer: Signer, now: datetime, address: str | None
    ) -> WrittenCall | None:
        """Return a call of ours, signed; None where none like it is known, or it is not one of ours."""
        split = split_at_body(envelope)
        if split is None or UNKNOWN_CONTENT.search(split.content):
            return None
        for form in self._forms.get(_make_key(signer, address), ()):
            found = match_template(form.stored, split.hollow, 1)
            if found is not None:
                return _sign_by_form(form, found[0], split.framed, (signer, now))
        return None

    def remember_call(
        self, envelope: bytes, signed: WrittenCall, signer: Signer, address: str | None
    ) -> None:
        """Learn the form of a call of ours that was signed."""
        key, form = _make_key(signer, address), _learn_form(envelope, signed)
        if form is not None:
            if len(self._forms) >= _MOST_KEYS:
                self._forms.clear()
            self._forms[key] = (form, *self._forms.get(key, ())[: _MOST_FORMS - 1])


def _make_key(signer: Signer, address: str | None) -> object:
    return signer.certificate.sha256, signer.algorithm, address


def _sign_by_form(
    form: _CallForm, message_id: bytes, framed: bytes, by: tuple[Signer, datetime]
) -> WrittenCall | None:
    (signer, now), known, values = by, form.signed, list(form.values)
    changed = _list_changed_values(known.numbers, message_id, now)
    for number, value in changed.items():
        values[number] = value
    try:
        root = _read_body(known, values, framed)
    except GatewayError:
        return None
    request = next(root[0].iterchildren("*"), None)
    if request is None:
        return None
    body = canonicalize_element(root[0], exclusive=True)
    sign_known_values(known.signature, values, changed.keys(), body, signer)
    octets = _write_body(fill_template(known.template, values), root)
    if octets is None:
        return None
    return WrittenCall(message_id.decode(), known.content.action, str(request.tag), octets)


def _list_changed_values(numbers: ValueNumbers, message_id: bytes, now: datetime) -> dict[int, bytes]:
    """Return by their numbers the values in which one call differs from another, but for what is computed."""
    changed = {numbers.message_id: message_id, numbers.timestamp: write_moment(now).encode()}
    if numbers.expires is not None:
        changed[numbers.expires] = write_moment(now + DEFAULT_WINDOW.validity).encode()
    return changed


def _read_body(known: KnownEnvelope[Any], values: Sequence[bytes], framed: bytes) -> etree._Element:
    """Return an envelope without header, whose Body has the identifier by which it is signed."""
    root = read_own_element(framed)
    (uri,) = (one.uri for one in known.signature.references if one.form is None)
    root[0].set(_ID, fill_template(uri, values)[1:].decode())
    return root


def _write_body(hollow: bytes, root: etree._Element) -> bytes | None:
    """Return an envelope with a Body in place of an empty one; both have one start tag."""
    framed = split_at_body(serialize_element(root))
    end = hollow.rfind(b"</", 0, hollow.rfind(b"</"))
    return None if framed is None else hollow[:end] + framed.content + hollow[end:]


def _learn_form(envelope: bytes, signed: WrittenCall) -> _CallForm | None:
    """Return the form of a call that was signed; None where another way would not give its octets."""
    stored, split = split_at_body(envelope), split_at_body(signed.octets)
    if stored is None or split is None or UNKNOWN_CONTENT.search(stored.content):
        return None
    place = ValuePlace(0, b">", signed.message_id.encode(), b"<")
    template = make_template(stored.hollow, [place])
    if template is None or len(template.numbers) != 1:
        return None
    known = learn_envelope(ANSWERS, split.hollow, STRICT.name, DEFAULT_LIMITS)
    said = None if known is None else read_known_envelope(ANSWERS, known, split.hollow)
    if known is None or said is None:
        return None
    root = _read_body(known, said.values, stored.framed)
    if _write_body(split.hollow, root) != signed.octets:
        return None
    return _CallForm(template, known, tuple(said.values))
