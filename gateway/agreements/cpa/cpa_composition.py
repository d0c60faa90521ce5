"""Composes two profiles (CPP) into a proposed agreement, and makes a proposed agreement an agreed one.

An action that one party can send and the other can receive is bound together (CPPA 2.0, CanSend, CanReceive).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from lxml import etree

from gateway.agreements.cpa.channel_conversion import make_packaging
from gateway.agreements.cpa.cpa_model import CpaParty
from gateway.agreements.cpa.cpa_reader import read_cpa
from gateway.agreements.cpa.cpa_values import find_algorithm_uri
from gateway.agreements.cpa.element_writer import DocumentIds, add_element
from gateway.agreements.pmode_values import Packaging
from gateway.errors import AGREEMENT_UNWORKABLE, GatewayError
from gateway.wire import DS, TP, XLINK, collapse_whitespace, format_instant


@dataclass(frozen=True, slots=True)
class ProfileFile:
    """The octets of a profile (CPP) and the name of its file."""

    octets: bytes
    file_name: str


@dataclass(frozen=True, slots=True)
class CpaTerms:
    """The terms of a CPA besides its profiles: its name (`cpaid`), its begin and its end."""

    agreement_id: str
    start: datetime
    end: datetime


def add_missing_anchors(party: Any, partner: Any, document_ids: DocumentIds) -> None:
    """Let a party that names no trust anchor for signatures trust the signers of the other party.

    A profile does not know who the other party will be. Real agreements name anchors for each signature.
    """
    verification_elements = [
        element
        for element in party.iter(f"{{{TP}}}ReceiverNonRepudiation")
        if element.find(f"{{{TP}}}SigningSecurityDetailsRef") is None
    ]
    signers = list(_list_signers(partner))
    if not verification_elements or not signers:
        return
    details_element = etree.Element(f"{{{TP}}}SecurityDetails")
    details_id = document_ids.reserve_id("partner-security")
    details_element.set(f"{{{TP}}}securityId", details_id)
    anchors_element = add_element(details_element, "TrustAnchors")
    channel = next(party.iterchildren(f"{{{TP}}}DeliveryChannel"))
    next_element = next(party.iterchildren(f"{{{TP}}}SecurityDetails"), channel)
    for signer in signers:
        certificate_copy = deepcopy(signer)
        certificate_id = document_ids.reserve_id("partner-signing-certificate")
        certificate_copy.set(f"{{{TP}}}certId", certificate_id)
        add_element(anchors_element, "AnchorCertificateRef", certId=certificate_id)
        next_element.addprevious(certificate_copy)
    channel.addprevious(details_element)
    for element in verification_elements:
        add_element(element, "SigningSecurityDetailsRef", securityId=details_id)


def choose_algorithms(party: Any, partner: Any) -> None:
    """Keep, of the signature algorithms that a party verifies, those by which the other party signs.

    Where the party offers none of them, nothing changes: a finding reports this.
    """
    used_algorithms = {
        _get_algorithm_uri(element) for element in _list_algorithms(partner, "SenderNonRepudiation")
    }
    for verification_element in party.iter(f"{{{TP}}}ReceiverNonRepudiation"):
        offered_elements = verification_element.findall(f"{{{TP}}}SignatureAlgorithm")
        if any(_get_algorithm_uri(element) in used_algorithms for element in offered_elements):
            for element in offered_elements:
                if _get_algorithm_uri(element) not in used_algorithms:
                    verification_element.remove(element)


def _list_algorithms(party: Any, element_name: str) -> Iterator[Any]:
    for element in party.iter(f"{{{TP}}}{element_name}"):
        yield from element.iterchildren(f"{{{TP}}}SignatureAlgorithm")


def _get_algorithm_uri(element: Any) -> str:
    return find_algorithm_uri(element.get(f"{{{TP}}}w3c") or (element.text or "").strip())


def _list_signers(party: Any) -> Iterator[Any]:
    """Yield the certificates with which a party signs, each once."""
    certificate_ids = {
        reference.get(f"{{{TP}}}certId") for reference in party.iter(f"{{{TP}}}SigningCertificateRef")
    }
    for certificate_element in party.iterchildren(f"{{{TP}}}Certificate"):
        if (
            certificate_element.get(f"{{{TP}}}certId") in certificate_ids
            and certificate_element.find(f".//{{{DS}}}X509Certificate") is not None
        ):
            yield certificate_element


def merge_equal_packages(cpa_octets: bytes) -> bytes:
    """Return a CPA in which equal packages are merged, so that both sides of an action name the same one.

    Packages and parts without a reference are removed.
    """
    document = read_cpa(cpa_octets, "proposal")
    root, id_by_packaging = document.root, dict[Packaging, str]()
    merged_ids: dict[str, str] = {}
    for name in document.packages:
        packaging = make_packaging(document, name)
        merged_ids[name] = (
            id_by_packaging.setdefault(_remove_names(packaging), name) if packaging is not None else name
        )
    for element in root.iter(f"{{{TP}}}*"):
        for attribute in (f"{{{TP}}}packageId", f"{{{TP}}}defaultMshPackageId"):
            package_id = element.get(attribute)
            if package_id is not None:
                element.set(attribute, merged_ids.get(package_id, package_id))
    used_ids = set(merged_ids.values())
    for package in root.findall(f"{{{TP}}}Packaging"):
        if package.get(f"{{{TP}}}id") not in used_ids:
            root.remove(package)
    referenced_ids = {part.get(f"{{{TP}}}idref") for part in root.iter(f"{{{TP}}}Constituent")}
    for part in root.findall(f"{{{TP}}}SimplePart"):
        if part.get(f"{{{TP}}}id") not in referenced_ids:
            root.remove(part)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"


def _remove_names(packaging: Packaging) -> Packaging:
    """Return a package without the ids of the document; quotes around a parameter mean nothing."""
    parameters = packaging.parameters.replace('"', "") if packaging.parameters is not None else None
    parts = tuple(replace(part, name="") for part in packaging.parts)
    return Packaging("", packaging.mime_type, parts, parameters)


_ID_ATTRIBUTES: Final = ("channelId", "transportId", "docExchangeId", "certId", "securityId", "id")
_REFERENCE_ATTRIBUTES: Final = ("idref", "packageId", "defaultMshChannelId", "defaultMshPackageId")
_REFERENCE_ELEMENTS: Final = ("ChannelId", "OtherPartyActionBinding")


def compose_cpa(first_profile: ProfileFile, second_profile: ProfileFile, terms: CpaTerms) -> bytes:
    """Return a proposed CPA of two profiles, with this name and this period.

    Actions that only one of them has are left out. Raises GW313 for a file that is no CPP, and for
    profiles that have no action in common.
    """
    first_root, second_root = (
        _read_profile(file.octets, file.file_name) for file in (first_profile, second_profile)
    )
    used_ids = set(_list_ids(first_root))
    _rename_ids(
        second_root, {identifier for identifier in _list_ids(second_root) if identifier in used_ids}, used_ids
    )
    first_party, second_party = (_find_party(root) for root in (first_root, second_root))
    if not (_bind_actions(first_party, second_party) + _bind_actions(second_party, first_party)):
        raise GatewayError(AGREEMENT_UNWORKABLE, "the profiles have no action in common")
    for party in (first_party, second_party):
        _remove_unbound_actions(party)
    document_ids = DocumentIds({*_list_ids(first_root), *_list_ids(second_root)})
    for party, partner in ((first_party, second_party), (second_party, first_party)):
        add_missing_anchors(party, partner, document_ids)
        choose_algorithms(party, partner)
    cpa_octets = merge_equal_packages(
        _write_agreement((first_root, second_root), (first_party, second_party), terms)
    )
    read_cpa(cpa_octets, "proposal")
    return cpa_octets


def list_omitted_actions(profile: ProfileFile, proposal: bytes) -> list[str]:
    """Return a description of the actions of a profile that are not in the agreement composed of it.

    The other party has no counterpart of them, or has it elsewhere: a response within its request on one
    side only.
    """
    (party,) = read_cpa(profile.octets, profile.file_name, is_profile=True).parties
    composed_parties = read_cpa(proposal, "proposal").parties
    bound_party = next(
        composed_party
        for composed_party in composed_parties
        if {(ids.value, ids.type) for ids in party.ids}
        == {(ids.value, ids.type) for ids in composed_party.ids}
    )
    return list((Counter(_describe_bindings(party)) - Counter(_describe_bindings(bound_party))).elements())


def _describe_bindings(party: CpaParty) -> Iterator[str]:
    for role, binding, parent_binding in party.list_bindings():
        verb = "sends" if binding.sends else "receives"
        holder_text = f" within {parent_binding.action}" if parent_binding is not None else ""
        yield f"{party.name} {verb} {binding.action}{holder_text} of {role.service}, as {role.role}"


def accept_cpa(cpa_octets: bytes, file_name: str) -> bytes:
    """Return a proposed CPA as one that both parties agree on: its status is the only change.

    Raises GW313 for a file that is no CPA, for one that is not proposed (CPPA 2.0, Status), and for one that
    is signed: a signature is for the document as it is.
    """
    document = read_cpa(cpa_octets, file_name)
    if document.status != "proposed":
        detail = f"the agreement is {document.status}: there is nothing to agree"
        raise GatewayError(AGREEMENT_UNWORKABLE, detail, f"{file_name}:{document.status_place.line}")
    if document.signatures:
        detail = "the proposal is signed, and a signature is for the document as it is"
        raise GatewayError(AGREEMENT_UNWORKABLE, detail, f"{file_name}:{document.signatures[0].line}")
    root = deepcopy(document.root)
    root.find(f"{{{TP}}}Status").set(f"{{{TP}}}value", "agreed")
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"


def _read_profile(profile_octets: bytes, file_name: str) -> Any:
    root = deepcopy(read_cpa(profile_octets, file_name, is_profile=True).root)
    etree.strip_tags(root, etree.Comment)
    return root


def _find_party(root: Any) -> Any:
    return next(root.iterchildren(f"{{{TP}}}PartyInfo"))


def _list_ids(root: Any) -> Iterator[str]:
    """Yield the ids of a document: where an attribute names its own element."""
    for element in root.iter(f"{{{TP}}}*"):
        element_name = etree.QName(element).localname
        for attribute_name in _ID_ATTRIBUTES:
            value = element.get(f"{{{TP}}}{attribute_name}")
            if value is not None and _is_definition(element_name, attribute_name):
                yield collapse_whitespace(value)


def _is_definition(element_name: str, attribute_name: str) -> bool:
    """Return whether the attribute defines an id in this element; in another element it is a reference."""
    element_by_attribute = {
        "channelId": "DeliveryChannel",
        "transportId": "Transport",
        "docExchangeId": "DocExchange",
        "certId": "Certificate",
        "securityId": "SecurityDetails",
    }
    return element_by_attribute.get(attribute_name, element_name) == element_name


def _rename_ids(root: Any, conflicts: set[str], used_ids: set[str]) -> None:
    """Replace the ids `conflicts`, and all references to them, by names that are not in `used_ids`."""
    document_ids = DocumentIds(used_ids | set(_list_ids(root)))
    new_ids = {conflict: document_ids.reserve_id(conflict) for conflict in sorted(conflicts)}
    for element in root.iter(f"{{{TP}}}*"):
        for attribute_name in (*_ID_ATTRIBUTES, *_REFERENCE_ATTRIBUTES):
            value = element.get(f"{{{TP}}}{attribute_name}")
            if value is not None and collapse_whitespace(value) in new_ids:
                element.set(f"{{{TP}}}{attribute_name}", new_ids[collapse_whitespace(value)])
        if etree.QName(element).localname in _REFERENCE_ELEMENTS:
            referenced_id = collapse_whitespace(element.text or "")
            element.text = new_ids.get(referenced_id, referenced_id)


def _list_services(party: Any) -> Iterator[Any]:
    yield from party.iterfind(f"{{{TP}}}CollaborationRole/{{{TP}}}ServiceBinding")


def _get_service(binding: Any) -> tuple[str, str | None]:
    service = binding.find(f"{{{TP}}}Service")
    return service.text or "", service.get(f"{{{TP}}}type")


def _get_party_binding(binding: Any) -> Any:
    return binding.find(f"{{{TP}}}ThisPartyActionBinding")


def _get_action_name(binding: Any) -> str:
    return str(_get_party_binding(binding).get(f"{{{TP}}}action"))


def _get_process_uri(binding: Any) -> str:
    process = binding.getparent().find(f"{{{TP}}}ProcessSpecification")
    return str(process.get(f"{{{XLINK}}}href", ""))


def _bind_actions(sender: Any, receiver: Any) -> int:
    """Bind each action that one party sends and the other receives; return how many there are.

    A party may have one service in several roles: those in the same process are bound first.
    """
    pairs = [
        (service, opposite)
        for service in _list_services(sender)
        for opposite in _list_services(receiver)
        if _get_service(service) == _get_service(opposite)
    ]
    pairs.sort(key=lambda pair: _get_process_uri(pair[0]) != _get_process_uri(pair[1]))
    return sum(_bind_children(service, opposite, "CanSend", "CanReceive") for service, opposite in pairs)


def _bind_children(sender: Any, receiver: Any, child_name: str, opposite_name: str) -> int:
    """Bind the unbound actions of equal name in two elements and, recursively, their answers.

    `child_name` and `opposite_name` are CanSend and CanReceive, or the reverse. Returns the number of pairs
    at this level.
    """
    bound_count = 0
    for sender_binding in sender.iterchildren(f"{{{TP}}}{child_name}"):
        for receiver_binding in receiver.iterchildren(f"{{{TP}}}{opposite_name}"):
            if _get_action_name(sender_binding) == _get_action_name(receiver_binding) and sender_binding.get(
                "bound"
            ) is None is receiver_binding.get("bound"):
                _bind_pair(sender_binding, receiver_binding)
                # Nested bindings have the other direction.
                _bind_children(sender_binding, receiver_binding, opposite_name, child_name)
                bound_count += 1
    return bound_count


def _bind_pair(first_binding: Any, second_binding: Any) -> None:
    """Make two bindings name each other in OtherPartyActionBinding; give both the attribute ``bound``."""
    for binding, counterpart in ((first_binding, second_binding), (second_binding, first_binding)):
        for old_reference in list(binding.iterchildren(f"{{{TP}}}OtherPartyActionBinding")):
            binding.remove(old_reference)
        element = etree.Element(f"{{{TP}}}OtherPartyActionBinding")
        element.text = _get_party_binding(counterpart).get(f"{{{TP}}}id")
        _get_party_binding(binding).addnext(element)
        binding.set("bound", "yes")


def _remove_unbound_actions(party: Any) -> None:
    """Remove the actions of a party that have no counterpart, and the roles that then have no actions."""
    for binding in list(party.iter(f"{{{TP}}}CanSend", f"{{{TP}}}CanReceive")):
        if binding.attrib.pop("bound", None) is None and binding.getparent() is not None:
            binding.getparent().remove(binding)
    for service in list(_list_services(party)):
        if not len(service.findall(f"{{{TP}}}CanSend") + service.findall(f"{{{TP}}}CanReceive")):
            party.remove(service.getparent())


def _write_agreement(profiles: Sequence[Any], parties: Sequence[Any], terms: CpaTerms) -> bytes:
    """Return the CPA as XML, with status ``proposed``, from `terms`, `parties` and parts of `profiles`.

    Raises GW313 if the id of the agreement cannot stand in XML. The elements are moved, not copied.
    """
    root = etree.Element(
        f"{{{TP}}}CollaborationProtocolAgreement", nsmap={"tp": TP, "ds": DS, "xlink": XLINK}
    )
    try:
        root.set(f"{{{TP}}}cpaid", terms.agreement_id)
    except ValueError as mistake:  # XML cannot hold every character
        detail = "the name of the agreement cannot stand in XML"
        raise GatewayError(AGREEMENT_UNWORKABLE, detail) from mistake
    root.set(f"{{{TP}}}version", "2_0b")
    add_element(root, "Status", value="proposed")
    for element_name, at in (("Start", terms.start), ("End", terms.end)):
        add_element(root, element_name, format_instant(at, "auto"))
    root.extend(parties)
    for element_name in ("SimplePart", "Packaging"):
        for profile in profiles:
            root.extend(list(profile.iterchildren(f"{{{TP}}}{element_name}")))
    etree.indent(root)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"
