"""Signs SOAP envelopes of ours by the form of one that was signed before: of each, the Body alone differs.

The octets are those that `sign_soap_envelope` and the serialisation of the whole tree give.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from lxml import etree

from gateway.pki import Signer
from gateway.protocols.known_envelope import KnownEnvelope, learn_envelope, read_known_envelope
from gateway.protocols.known_soap import SOAP_ANSWERS, holds_unknown_content
from gateway.wire import (
    DEFAULT_LIMITS,
    SOAP11,
    WSU,
    AddressingHeaders,
    build_addressed_envelope,
    canonicalize_element,
    fill_template,
    is_template_value,
    serialize_element,
    split_at_body,
)
from gateway.xmlsec import (
    DEFAULT_WINDOW,
    STRICT,
    TimestampWindow,
    sign_known_values,
    sign_soap_envelope,
    write_moment,
)

__all__ = ["SignatureMoment", "SigningForms", "SoapForm", "learn_soap_form", "sign_by_form"]

_ID: Final = f"{{{WSU}}}Id"
#: Forms of envelopes: keys, and actions and addresses of each.
_MOST_FORMS: Final = 256
#: Ids of the envelope from which a form is learned; nobody else's are in it.
_LEARNED: Final = ("urn:learned:message", "urn:learned:relation")


class SignatureMoment(NamedTuple):
    """Who signs, when, and for how long."""

    signer: Signer
    now: datetime
    window: TimestampWindow = DEFAULT_WINDOW


@dataclass(frozen=True, slots=True)
class SoapForm:
    """A signed envelope with an empty Body and all its values."""

    known: KnownEnvelope[Any]
    values: tuple[bytes, ...]

    @property
    def action(self) -> str:
        """Return what its header says that is wanted."""
        action: str = self.known.content.addressing.action
        return action


def learn_soap_form(octets: bytes, framed: etree._Element) -> SoapForm | None:
    """Return the form of an envelope that was signed; None where another way would not give its octets.

    `framed` is that envelope without header, as it was before it was signed.
    """
    split = split_at_body(octets)
    known = None if split is None else learn_envelope(SOAP_ANSWERS, split.hollow, STRICT.name, DEFAULT_LIMITS)
    if split is None or known is None:
        return None
    said = read_known_envelope(SOAP_ANSWERS, known, split.hollow)
    if said is None:
        return None
    form = SoapForm(known, tuple(said.values))
    _identify_body(form, framed)
    return form if _write_body(split.hollow, framed) == octets else None


def sign_by_form(
    form: SoapForm, framed: etree._Element, ids: tuple[bytes, bytes | None], moment: SignatureMoment
) -> bytes | None:
    """Return an envelope that was `framed` without header, with its MessageID and relation, signed."""
    known, values = form.known, list(form.values)
    changed = _list_changed_values(form, ids, moment)
    for number, value in changed.items():
        values[number] = value
    _identify_body(form, framed)
    body = canonicalize_element(framed[0], exclusive=True)
    sign_known_values(known.signature, values, changed.keys(), body, moment.signer)
    return _write_body(fill_template(known.template, values), framed)


def _list_changed_values(
    form: SoapForm, ids: tuple[bytes, bytes | None], moment: SignatureMoment
) -> dict[int, bytes]:
    """Return by number the values in which one envelope differs from another, but for what is computed."""
    numbers, (message_id, relation) = form.known.numbers, ids
    changed = {numbers.message_id: message_id, numbers.timestamp: write_moment(moment.now).encode()}
    if numbers.expires is not None:
        changed[numbers.expires] = write_moment(moment.now + moment.window.validity).encode()
    if numbers.reference is not None and relation is not None:
        changed[numbers.reference] = relation
    return changed


def _identify_body(form: SoapForm, framed: etree._Element) -> None:
    """Give a Body the identifier by which it is signed."""
    (uri,) = (one.uri for one in form.known.signature.references if one.form is None)
    framed[0].set(_ID, fill_template(uri, form.values)[1:].decode())


def _write_body(hollow: bytes, root: etree._Element) -> bytes | None:
    """Return an envelope with a Body in place of an empty one; both have one start tag."""
    framed = split_at_body(serialize_element(root))
    end = hollow.rfind(b"</", 0, hollow.rfind(b"</"))
    return None if framed is None else hollow[:end] + framed.content + hollow[end:]


class SigningForms:
    """Forms of signed envelopes by key, action and address, a bounded number; safe for threads."""

    def __init__(self) -> None:
        self._forms: dict[object, SoapForm | None] = {}

    def sign_envelope(
        self, content: etree._Element, values: AddressingHeaders, moment: SignatureMoment
    ) -> bytes:
        """Return the signed envelope of a call or answer, the octets that `sign_whole_envelope` gives."""
        signer, answers = moment.signer, values.relates_to is not None
        key = (signer.certificate.sha256, signer.algorithm, values.action, values.to, answers)
        if key not in self._forms:
            if len(self._forms) >= _MOST_FORMS:
                self._forms.clear()
            self._forms[key] = _learn_form(values, moment)
        form = self._forms.get(key)
        octets = None if form is None else _sign_like_known(form, content, values, moment)
        return sign_whole_envelope(content, values, moment) if octets is None else octets


def sign_whole_envelope(content: etree._Element, values: AddressingHeaders, moment: SignatureMoment) -> bytes:
    """Return the signed envelope of a call or answer; its tree is built."""
    root = build_addressed_envelope(content, values)
    sign_soap_envelope(root, moment.signer, now=moment.now, window=moment.window)
    return serialize_element(root)


def _sign_like_known(
    form: SoapForm, content: etree._Element, values: AddressingHeaders, moment: SignatureMoment
) -> bytes | None:
    relation = None if values.relates_to is None else values.relates_to.encode()
    ids = (values.message_id.encode(), relation)
    if not all(is_template_value(one) for one in ids if one is not None):
        return None
    if holds_unknown_content(serialize_element(content)):
        return None
    return sign_by_form(form, _frame(content), ids, moment)


def _learn_form(values: AddressingHeaders, moment: SignatureMoment) -> SoapForm | None:
    message_id, relation = _LEARNED
    relates_to = None if values.relates_to is None else relation
    like = AddressingHeaders(values.action, message_id, values.to, relates_to)
    content = etree.Element("Learned")
    octets = sign_whole_envelope(content, like, moment)
    return learn_soap_form(octets, _frame(content))


def _frame(content: etree._Element) -> etree._Element:
    """Return an envelope without its header."""
    root = etree.Element(f"{{{SOAP11}}}Envelope", nsmap={"soap": SOAP11})
    etree.SubElement(root, f"{{{SOAP11}}}Body").append(content)
    return root
