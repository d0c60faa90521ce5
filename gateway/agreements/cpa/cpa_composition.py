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
from gateway.agreements.cpa.element_writer import IdNames, add_element
from gateway.agreements.pmode_values import Packaging
from gateway.errors import AGREEMENT_UNWORKABLE, GatewayError
from gateway.wire import DS, TP, XLINK, collapse_whitespace, format_instant


@dataclass(frozen=True, slots=True)
class ProfileFile:
    """The octets of a profile (CPP) and the name of its file."""

    data: bytes
    name: str


@dataclass(frozen=True, slots=True)
class CpaTerms:
    """The terms of a CPA besides its profiles: its name (`cpaid`), its begin and its end."""

    name: str
    start: datetime
    end: datetime


def add_missing_anchors(party: Any, partner: Any, names: IdNames) -> None:
    """Let a party that names no trust anchor for signatures believe the signers of the other party.

    A profile does not know who the other party will be. Real agreements name anchors for each signature.
    """
    verified = [
        element
        for element in party.iter(f"{{{TP}}}ReceiverNonRepudiation")
        if element.find(f"{{{TP}}}SigningSecurityDetailsRef") is None
    ]
    signers = list(_list_signers(partner))
    if not verified or not signers:
        return
    details = etree.Element(f"{{{TP}}}SecurityDetails")
    security = names.reserve_name("partner-security")
    details.set(f"{{{TP}}}securityId", security)
    anchors = add_element(details, "TrustAnchors")
    channel = next(party.iterchildren(f"{{{TP}}}DeliveryChannel"))
    before = next(party.iterchildren(f"{{{TP}}}SecurityDetails"), channel)
    for signer in signers:
        copied = deepcopy(signer)
        name = names.reserve_name("partner-signing-certificate")
        copied.set(f"{{{TP}}}certId", name)
        add_element(anchors, "AnchorCertificateRef", certId=name)
        before.addprevious(copied)
    channel.addprevious(details)
    for element in verified:
        add_element(element, "SigningSecurityDetailsRef", securityId=security)


def choose_algorithms(party: Any, partner: Any) -> None:
    """Keep, of the signature algorithms that a party verifies, those by which the other party signs.

    Where the party offers none of them, nothing changes: a finding reports this.
    """
    used = {_name_algorithm(element) for element in _list_algorithms(partner, "SenderNonRepudiation")}
    for verified in party.iter(f"{{{TP}}}ReceiverNonRepudiation"):
        offered = verified.findall(f"{{{TP}}}SignatureAlgorithm")
        if any(_name_algorithm(element) in used for element in offered):
            for element in offered:
                if _name_algorithm(element) not in used:
                    verified.remove(element)


def _list_algorithms(party: Any, name: str) -> Iterator[Any]:
    for element in party.iter(f"{{{TP}}}{name}"):
        yield from element.iterchildren(f"{{{TP}}}SignatureAlgorithm")


def _name_algorithm(element: Any) -> str:
    return find_algorithm_uri(element.get(f"{{{TP}}}w3c") or (element.text or "").strip())


def _list_signers(party: Any) -> Iterator[Any]:
    """Yield the certificates with which a party signs, each once."""
    names = {reference.get(f"{{{TP}}}certId") for reference in party.iter(f"{{{TP}}}SigningCertificateRef")}
    for holder in party.iterchildren(f"{{{TP}}}Certificate"):
        if holder.get(f"{{{TP}}}certId") in names and holder.find(f".//{{{DS}}}X509Certificate") is not None:
            yield holder


def share_packages(octets: bytes) -> bytes:
    """Return a CPA in which equal packages are merged, so that both sides of an action name the same one.

    Packages and parts without a reference are removed.
    """
    document = read_cpa(octets, "proposal")
    root, shared = document.root, dict[Packaging, str]()
    names: dict[str, str] = {}
    for name in document.packages:
        packaging = make_packaging(document, name)
        names[name] = shared.setdefault(_forget_names(packaging), name) if packaging is not None else name
    for element in root.iter(f"{{{TP}}}*"):
        for attribute in (f"{{{TP}}}packageId", f"{{{TP}}}defaultMshPackageId"):
            package_id = element.get(attribute)
            if package_id is not None:
                element.set(attribute, names.get(package_id, package_id))
    used = set(names.values())
    for package in root.findall(f"{{{TP}}}Packaging"):
        if package.get(f"{{{TP}}}id") not in used:
            root.remove(package)
    referred = {part.get(f"{{{TP}}}idref") for part in root.iter(f"{{{TP}}}Constituent")}
    for part in root.findall(f"{{{TP}}}SimplePart"):
        if part.get(f"{{{TP}}}id") not in referred:
            root.remove(part)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"


def _forget_names(packaging: Packaging) -> Packaging:
    """Return a package without the ids of the document; quotes around a parameter mean nothing."""
    parameters = packaging.parameters.replace('"', "") if packaging.parameters is not None else None
    parts = tuple(replace(part, name="") for part in packaging.parts)
    return Packaging("", packaging.mime_type, parts, parameters)


_ID_ATTRIBUTES: Final = ("channelId", "transportId", "docExchangeId", "certId", "securityId", "id")
_REFERRING: Final = ("idref", "packageId", "defaultMshChannelId", "defaultMshPackageId")
_REFERRING_TEXTS: Final = ("ChannelId", "OtherPartyActionBinding")


def compose_cpa(first_profile: ProfileFile, second_profile: ProfileFile, terms: CpaTerms) -> bytes:
    """Return a proposed CPA of two profiles, with this name and this period.

    Actions that only one of them has are left out. Raises GW313 for a file that is no CPP, and for
    profiles that have no action in common.
    """
    first, second = (_read_profile(file.data, file.name) for file in (first_profile, second_profile))
    used_ids = set(_list_ids(first))
    _rename_ids(second, {identifier for identifier in _list_ids(second) if identifier in used_ids}, used_ids)
    ours, theirs = (_find_party(root) for root in (first, second))
    if not (_bind_actions(ours, theirs) + _bind_actions(theirs, ours)):
        raise GatewayError(AGREEMENT_UNWORKABLE, "the profiles have no action in common")
    for party in (ours, theirs):
        _remove_unbound(party)
    names = IdNames({*_list_ids(first), *_list_ids(second)})
    for party, partner in ((ours, theirs), (theirs, ours)):
        add_missing_anchors(party, partner, names)
        choose_algorithms(party, partner)
    data = share_packages(_write_agreement((first, second), (ours, theirs), terms))
    read_cpa(data, "proposal")
    return data


def list_left_out(profile: ProfileFile, proposal: bytes) -> list[str]:
    """Return a description of the actions of a profile that are not in the agreement composed of it.

    The other party has no counterpart of them, or has it elsewhere: a response within its request on one
    side only.
    """
    (party,) = read_cpa(profile.data, profile.name, profile=True).parties
    composed = read_cpa(proposal, "proposal").parties
    bound = next(
        composed_party
        for composed_party in composed
        if {(ids.value, ids.type) for ids in party.ids}
        == {(ids.value, ids.type) for ids in composed_party.ids}
    )
    return list((Counter(_describe_bindings(party)) - Counter(_describe_bindings(bound))).elements())


def _describe_bindings(party: CpaParty) -> Iterator[str]:
    for role, binding, holder in party.list_bindings():
        verb = "sends" if binding.sends else "receives"
        holder_text = f" within {holder.action}" if holder is not None else ""
        yield f"{party.name} {verb} {binding.action}{holder_text} of {role.service}, as {role.role}"


def agree_cpa(data: bytes, file: str) -> bytes:
    """Return a proposed CPA as one that both parties agree on: its status is the only change.

    Raises GW313 for a file that is no CPA, for one that is not proposed (CPPA 2.0, Status), and for one that
    is signed: a signature is for the document as it is.
    """
    document = read_cpa(data, file)
    if document.status != "proposed":
        detail = f"the agreement is {document.status}: there is nothing to agree"
        raise GatewayError(AGREEMENT_UNWORKABLE, detail, f"{file}:{document.status_place.line}")
    if document.signatures:
        detail = "the proposal is signed, and a signature is for the document as it is"
        raise GatewayError(AGREEMENT_UNWORKABLE, detail, f"{file}:{document.signatures[0].line}")
    root = deepcopy(document.root)
    root.find(f"{{{TP}}}Status").set(f"{{{TP}}}value", "agreed")
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"


def _read_profile(data: bytes, file: str) -> Any:
    root = deepcopy(read_cpa(data, file, profile=True).root)
    etree.strip_tags(root, etree.Comment)
    return root


def _find_party(root: Any) -> Any:
    return next(root.iterchildren(f"{{{TP}}}PartyInfo"))


def _list_ids(root: Any) -> Iterator[str]:
    """Yield the ids of a document: where an attribute names its own element."""
    for element in root.iter(f"{{{TP}}}*"):
        local = etree.QName(element).localname
        for name in _ID_ATTRIBUTES:
            value = element.get(f"{{{TP}}}{name}")
            if value is not None and _is_definition(local, name):
                yield collapse_whitespace(value)


def _is_definition(local: str, name: str) -> bool:
    owners = {
        "channelId": "DeliveryChannel",
        "transportId": "Transport",
        "docExchangeId": "DocExchange",
        "certId": "Certificate",
        "securityId": "SecurityDetails",
    }
    return owners.get(name, local) == local


def _rename_ids(root: Any, conflicts: set[str], used_ids: set[str]) -> None:
    """Give the ids of a document that the other has too another name, with all references to them."""
    ids = IdNames(used_ids | set(_list_ids(root)))
    names = {conflict: ids.reserve_name(conflict) for conflict in sorted(conflicts)}
    for element in root.iter(f"{{{TP}}}*"):
        for name in (*_ID_ATTRIBUTES, *_REFERRING):
            value = element.get(f"{{{TP}}}{name}")
            if value is not None and collapse_whitespace(value) in names:
                element.set(f"{{{TP}}}{name}", names[collapse_whitespace(value)])
        if etree.QName(element).localname in _REFERRING_TEXTS:
            text = collapse_whitespace(element.text or "")
            element.text = names.get(text, text)


def _list_services(party: Any) -> Iterator[Any]:
    yield from party.iterfind(f"{{{TP}}}CollaborationRole/{{{TP}}}ServiceBinding")


def _get_service(binding: Any) -> tuple[str, str | None]:
    service = binding.find(f"{{{TP}}}Service")
    return service.text or "", service.get(f"{{{TP}}}type")


def _get_this(binding: Any) -> Any:
    return binding.find(f"{{{TP}}}ThisPartyActionBinding")


def _get_action(binding: Any) -> str:
    return str(_get_this(binding).get(f"{{{TP}}}action"))


def _get_process(binding: Any) -> str:
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
    pairs.sort(key=lambda pair: _get_process(pair[0]) != _get_process(pair[1]))
    return sum(_bind_children(service, opposite, "CanSend", "CanReceive") for service, opposite in pairs)


def _bind_children(sender: Any, receiver: Any, name: str, opposite_name: str) -> int:
    count = 0
    for ours in sender.iterchildren(f"{{{TP}}}{name}"):
        for theirs in receiver.iterchildren(f"{{{TP}}}{opposite_name}"):
            if _get_action(ours) == _get_action(theirs) and ours.get("bound") is None is theirs.get("bound"):
                _bind_pair(ours, theirs)
                # Nested bindings have the other direction.
                _bind_children(ours, theirs, opposite_name, name)
                count += 1
    return count


def _bind_pair(ours: Any, theirs: Any) -> None:
    for binding, counterpart in ((ours, theirs), (theirs, ours)):
        for old in list(binding.iterchildren(f"{{{TP}}}OtherPartyActionBinding")):
            binding.remove(old)
        element = etree.Element(f"{{{TP}}}OtherPartyActionBinding")
        element.text = _get_this(counterpart).get(f"{{{TP}}}id")
        _get_this(binding).addnext(element)
        binding.set("bound", "yes")


def _remove_unbound(party: Any) -> None:
    """Remove the actions of a party that have no counterpart, and the roles that then have no actions."""
    for binding in list(party.iter(f"{{{TP}}}CanSend", f"{{{TP}}}CanReceive")):
        if binding.attrib.pop("bound", None) is None and binding.getparent() is not None:
            binding.getparent().remove(binding)
    for service in list(_list_services(party)):
        if not len(service.findall(f"{{{TP}}}CanSend") + service.findall(f"{{{TP}}}CanReceive")):
            party.remove(service.getparent())


def _write_agreement(profiles: Sequence[Any], parties: Sequence[Any], terms: CpaTerms) -> bytes:
    root = etree.Element(
        f"{{{TP}}}CollaborationProtocolAgreement", nsmap={"tp": TP, "ds": DS, "xlink": XLINK}
    )
    try:
        root.set(f"{{{TP}}}cpaid", terms.name)
    except ValueError as mistake:  # XML cannot hold every character
        detail = "the name of the agreement cannot stand in XML"
        raise GatewayError(AGREEMENT_UNWORKABLE, detail) from mistake
    root.set(f"{{{TP}}}version", "2_0b")
    add_element(root, "Status", value="proposed")
    for local, at in (("Start", terms.start), ("End", terms.end)):
        add_element(root, local, format_instant(at, "auto"))
    root.extend(parties)
    for local in ("SimplePart", "Packaging"):
        for profile in profiles:
            root.extend(list(profile.iterchildren(f"{{{TP}}}{local}")))
    etree.indent(root)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"
