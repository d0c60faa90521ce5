"""Puts a request into the form in which its agency's system speaks, and takes documents out of it.

A document in another form than XML travels as octets in base64, in one element in the place of the document:
the call around it is signed as every other. Without a form of its own in the mappings an agency gets XML.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from lxml import etree

from gateway.errors import CARRIED_WRONG, NOTICE_FORM_UNKNOWN, GatewayError
from gateway.harmonize import (
    AgencyRequest,
    MappingBundle,
    find_carried_document,
    get_carrier_form,
    read_carried,
    write_carried,
)
from gateway.wire import CARRIED, WrittenElement

__all__ = ["carry_request", "open_carried_document"]

_TAG: Final = f"{{{CARRIED}}}Carried"


def carry_request(bundle: MappingBundle, request: AgencyRequest) -> etree._Element | WrittenElement:
    """Return the element that stands for a request in the call to its agency; GW718 where it cannot."""
    form = get_carrier_form(bundle, request.organisation)
    if form.form == "xml":
        return request.written
    octets = write_carried(request.xml, find_carried_document(bundle, request.document), form)
    nsmap: Any = {None: CARRIED}
    element = etree.Element(_TAG, nsmap=nsmap, form=form.form, document=request.document)
    element.text = base64.b64encode(octets).decode("ascii")
    return element


def open_carried_document(bundle: MappingBundle, agency: str, element: etree._Element) -> etree._Element:
    """Return the document that `element` carries in the form of `agency`; another element as it is.

    Raises GW716 for a form or a document that this agency does not have, GW718 for octets that are not
    in its form.
    """
    if element.tag != _TAG:
        return element
    form = get_carrier_form(bundle, agency)
    if element.get("form") != form.form or form.form == "xml" or len(element):
        detail = f"{agency} speaks {form.form}, and this is {element.get('form', 'nothing')[:20]}"
        raise GatewayError(NOTICE_FORM_UNKNOWN, detail, "/Carried/@form")
    name = element.get("document", "")
    if name not in bundle.documents and name not in bundle.notices.notices:
        raise GatewayError(NOTICE_FORM_UNKNOWN, f"no document {name[:60]!r} is known", "/Carried/@document")
    try:
        octets = base64.b64decode("".join((element.text or "").split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise GatewayError(CARRIED_WRONG, "the content is no base64", "/Carried") from error
    return read_carried(octets, find_carried_document(bundle, name), form)
