"""Composes two profiles (CPP) into a proposed agreement: what one can send and the other can receive."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from datetime import datetime
from typing import Any, Final

from lxml import etree

from gateway.agreements.cpa.cpa_reader import read_cpa
from gateway.agreements.cpa.element_writer import add_element
from gateway.errors import AGREEMENT_UNWORKABLE, GatewayError
from gateway.wire import DS, TP, XLINK, collapse_whitespace

__all__ = ["compose_cpa"]

_NAMED: Final = ("channelId", "transportId", "docExchangeId", "certId", "securityId", "id")
_REFERRING: Final = ("idref", "packageId", "defaultMshChannelId", "defaultMshPackageId")
_REFERRING_TEXTS: Final = ("ChannelId", "OtherPartyActionBinding")


def compose_cpa(
    profiles: tuple[tuple[bytes, str], tuple[bytes, str]], name: str, period: tuple[datetime, datetime]
) -> bytes:
    """Return a proposed CPA of two profiles, each octets and the name of its file.

    Actions that only one of them has are left out. Raises GW313 for a file that is no CPP, and for
    profiles that have no action in common.
    """
    first, second = (_read_profile(data, file) for data, file in profiles)
    taken = set(_list_ids(first))
    _rename_ids(second, {one for one in _list_ids(second) if one in taken}, taken)
    ours, theirs = (_find_party(root) for root in (first, second))
    if not (_bind_actions(ours, theirs) + _bind_actions(theirs, ours)):
        raise GatewayError(AGREEMENT_UNWORKABLE, "the profiles have no action in common")
    for party in (ours, theirs):
        _remove_unbound(party)
    data = _write_agreement((first, second), (ours, theirs), name, period)
    read_cpa(data, "proposal")
    return data


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
        for name in _NAMED:
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


def _rename_ids(root: Any, conflicts: set[str], taken: set[str]) -> None:
    """Give the ids of a document that the other has too another name, with all references to them."""
    known, names = taken | set(_list_ids(root)), {}
    for one in sorted(conflicts):
        number = 2
        while f"{one}-{number}" in known:
            number += 1
        names[one] = f"{one}-{number}"
        known.add(names[one])
    for element in root.iter(f"{{{TP}}}*"):
        for name in (*_NAMED, *_REFERRING):
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


def _bind_actions(sender: Any, receiver: Any) -> int:
    """Bind each action that one party sends and the other receives; return how many there are."""
    count = 0
    for service in _list_services(sender):
        for other in _list_services(receiver):
            if _get_service(service) == _get_service(other):
                count += _bind_children(service, other, "CanSend", "CanReceive")
    return count


def _bind_children(one: Any, other: Any, name: str, other_name: str) -> int:
    count = 0
    for ours in one.iterchildren(f"{{{TP}}}{name}"):
        for theirs in other.iterchildren(f"{{{TP}}}{other_name}"):
            if _get_action(ours) == _get_action(theirs) and ours.get("bound") is None is theirs.get("bound"):
                _bind_pair(ours, theirs)
                # What is inside goes the other way.
                _bind_children(ours, theirs, other_name, name)
                count += 1
    return count


def _bind_pair(one: Any, other: Any) -> None:
    for binding, counterpart in ((one, other), (other, one)):
        for old in list(binding.iterchildren(f"{{{TP}}}OtherPartyActionBinding")):
            binding.remove(old)
        made = etree.Element(f"{{{TP}}}OtherPartyActionBinding")
        made.text = _get_this(counterpart).get(f"{{{TP}}}id")
        _get_this(binding).addnext(made)
        binding.set("bound", "yes")


def _remove_unbound(party: Any) -> None:
    """Remove what only this party has: actions without counterpart, and roles without actions."""
    for binding in list(party.iter(f"{{{TP}}}CanSend", f"{{{TP}}}CanReceive")):
        if binding.attrib.pop("bound", None) is None and binding.getparent() is not None:
            binding.getparent().remove(binding)
    for service in list(_list_services(party)):
        if not len(service.findall(f"{{{TP}}}CanSend") + service.findall(f"{{{TP}}}CanReceive")):
            party.remove(service.getparent())


def _write_agreement(
    roots: tuple[Any, Any], parties: tuple[Any, Any], name: str, period: tuple[datetime, datetime]
) -> bytes:
    root = etree.Element(
        f"{{{TP}}}CollaborationProtocolAgreement", nsmap={"tp": TP, "ds": DS, "xlink": XLINK}
    )
    root.set(f"{{{TP}}}cpaid", name)
    root.set(f"{{{TP}}}version", "2_0b")
    add_element(root, "Status", value="proposed")
    for local, at in zip(("Start", "End"), period, strict=True):
        add_element(root, local, at.isoformat().replace("+00:00", "Z"))
    root.extend(parties)
    for local in ("SimplePart", "Packaging"):
        for one in roots:
            root.extend(list(one.iterchildren(f"{{{TP}}}{local}")))
    etree.indent(root)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"
