"""Changes of what is signed: some leave its canonical form as it was, most do not."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import replace
from random import Random

from lxml import etree

from tests.xmlsec.opinions.change import found, outside, text, tree, whole
from tests.xmlsec.opinions.messages import Message

_START_TAG = re.compile(r"<(?![/!?])[^<>]*?(/?)>")
_TEXT = re.compile(r">([^<>&]*[^<>&\s][^<>&]*)<")


def _somewhere(random: Random, pattern: re.Pattern[str], data: str) -> re.Match[str] | None:
    places = list(pattern.finditer(data))
    return random.choice(places) if places else None


def _put(data: str, start: int, end: int, new: str) -> str:
    return data[:start] + new + data[end:]


# --- the same document, written in another way -----------------------------------------------


@text("same: nothing changed")
def _(_random: Random, data: str) -> str:
    return data


@text("same: white space in a tag")
def _(random: Random, data: str) -> str | None:
    place = _somewhere(random, _START_TAG, data)
    return place and _put(data, place.start(1), place.start(1), random.choice([" ", "\n", "\t "]))


@text("same: apostrophes for quotes")
def _(random: Random, data: str) -> str | None:
    place = _somewhere(random, re.compile(r'="([^"<\']*)"(?=[^<>]*>)'), data)
    return place and _put(data, place.start(), place.end(), f"='{place[1]}'")


@text("same: a character written as a reference")
def _(random: Random, data: str) -> str | None:
    place = _somewhere(random, _TEXT, data)
    if place is None:
        return None
    at = random.randrange(place.start(1), place.end(1))
    return _put(data, at, at + 1, f"&#{ord(data[at])};")


@text("same: text as CDATA")
def _(random: Random, data: str) -> str | None:
    place = _somewhere(random, _TEXT, data)
    return place and _put(data, place.start(1), place.end(1), f"<![CDATA[{place[1]}]]>")


@text("same: an empty element in two tags")
def _(random: Random, data: str) -> str | None:
    place = _somewhere(random, re.compile(r"<([\w:.-]+)([^<>]*)/>"), data)
    return place and _put(data, place.start(), place.end(), f"<{place[1]}{place[2]}></{place[1]}>")


@text("same: line ends of the other kind")
def _(_random: Random, data: str) -> str:
    return data.replace("\n", "\r\n")


@text("same: an XML declaration")
def _(random: Random, data: str) -> str:
    return (
        random.choice(['<?xml version="1.0" encoding="UTF-8"?>\n', "\n", '<?xml version="1.0"?>'])
        + data.lstrip()
    )


@tree("same: attributes in another order")
def _(random: Random, root: etree._Element) -> bool:
    several = [one for one in root.iter("*") if len(one.attrib) > 1]
    if not several:
        return False
    chosen = random.choice(several)
    pairs = list(chosen.attrib.items())
    random.shuffle(pairs)
    chosen.attrib.clear()
    for name, value in pairs:
        chosen.set(name, value)
    return True


# --- content ---------------------------------------------------------------------------------


@text("text: a character changed")
def _(random: Random, data: str) -> str | None:
    place = _somewhere(random, _TEXT, data)
    if place is None:
        return None
    at = random.randrange(place.start(1), place.end(1))
    return _put(data, at, at + 1, random.choice("0aZé 9"))


@text("text: white space between elements")
def _(random: Random, data: str) -> str | None:
    place = _somewhere(random, re.compile(r">\s*<"), data)
    return place and _put(data, place.start() + 1, place.start() + 1, random.choice([" ", "\n", "\t"]))


@text("text: white space removed between elements")
def _(random: Random, data: str) -> str | None:
    place = _somewhere(random, re.compile(r">(\s+)<"), data)
    return place and _put(data, place.start(1), place.end(1), "")


@text("text: a carriage return by reference")
def _(random: Random, data: str) -> str | None:
    place = _somewhere(random, _TEXT, data)
    return place and _put(data, place.end(1), place.end(1), "&#13;")


@text("comment: between elements or in a text")
def _(random: Random, data: str) -> str | None:
    place = _somewhere(random, re.compile(r">[^<]*<"), data)
    return place and _put(data, place.end() - 1, place.end() - 1, "<!-- c -->")


@text("instruction: between elements")
def _(random: Random, data: str) -> str | None:
    place = _somewhere(random, re.compile(r">\s*<"), data)
    return place and _put(data, place.start() + 1, place.start() + 1, "<?p i?>")


@text("document type: declared")
def _(_random: Random, data: str) -> str:
    name = re.search(r"<([\w:.-]+)", data)
    return f"<!DOCTYPE {name[1] if name else 'x'}>" + data


@text("document type: with an entity for a text")
def _(random: Random, data: str) -> str | None:
    place = _somewhere(random, _TEXT, data)
    name = re.search(r"<([\w:.-]+)", data)
    if place is None or name is None or '"' in place[1]:
        return None
    return f'<!DOCTYPE {name[1]} [<!ENTITY e "{place[1]}">]>' + _put(
        data, place.start(1), place.end(1), "&e;"
    )


# --- attributes, elements, namespaces ----------------------------------------------------------


@tree("attribute: changed")
def _(random: Random, root: etree._Element) -> bool:
    places = [(one, name) for one in outside(root) for name in one.attrib]
    if not places:
        return False
    one, name = random.choice(places)
    one.set(name, one.get(name, "") + random.choice(["x", " ", "0"]))
    return True


@tree("attribute: added")
def _(random: Random, root: etree._Element) -> bool:
    name = random.choice(["x", "{urn:evil}x", "{http://www.w3.org/XML/1998/namespace}lang", "href"])
    random.choice(outside(root)).set(name, "v")
    return True


@tree("attribute: removed")
def _(random: Random, root: etree._Element) -> bool:
    places = [(one, name) for one in outside(root) for name in one.attrib]
    if not places:
        return False
    one, name = random.choice(places)
    del one.attrib[name]
    return True


@tree("element: renamed")
def _(random: Random, root: etree._Element) -> bool:
    one = random.choice(outside(root))
    one.tag = str(one.tag) + "x"
    return True


@tree("element: moved to another namespace")
def _(random: Random, root: etree._Element) -> bool:
    one = random.choice(outside(root))
    one.tag = "{urn:other}" + etree.QName(one).localname
    return True


@tree("element: removed")
def _(random: Random, root: etree._Element) -> bool:
    places = [
        one for one in outside(root) if one.getparent() is not None and not found(one, ".//ds:Signature")
    ]
    if not places:
        return False
    one = random.choice(places)
    parent = one.getparent()
    assert parent is not None
    parent.remove(one)
    return True


@tree("element: added")
def _(random: Random, root: etree._Element) -> bool:
    parent = random.choice(outside(root))
    parent.insert(random.randint(0, len(parent)), parent.makeelement(random.choice(["x", "{urn:evil}x"])))
    return True


@tree("element: repeated")
def _(random: Random, root: etree._Element) -> bool:
    places = [
        one for one in outside(root) if one.getparent() is not None and not found(one, ".//ds:Signature")
    ]
    if not places:
        return False
    one = random.choice(places)
    one.addnext(deepcopy(one))
    return True


@tree("element: order of two changed")
def _(random: Random, root: etree._Element) -> bool:
    parents = [one for one in outside(root) if len(one) > 1]
    if not parents:
        return False
    parent = random.choice(parents)
    parent.append(parent[random.randrange(len(parent) - 1)])
    return True


@text("namespace: a prefix renamed everywhere")
def _(random: Random, data: str) -> str | None:
    prefixes = sorted(set(re.findall(r"xmlns:([\w.-]+)=", data)))
    if not prefixes:
        return None
    old = random.choice(prefixes)
    data = re.sub(rf"xmlns:{re.escape(old)}=", "xmlns:zz=", data)
    return re.sub(rf"(</?|\s){re.escape(old)}:(?=[\w.-]+)", r"\1zz:", data)


@text("namespace: one more declared")
def _(random: Random, data: str) -> str | None:
    place = _somewhere(random, re.compile(r"<[\w:.-]+"), data)
    return place and _put(data, place.end(), place.end(), ' xmlns:unused9="urn:unused9"')


@text("namespace: a declaration repeated below")
def _(random: Random, data: str) -> str | None:
    declared = re.search(r' xmlns:([\w.-]+)="[^"]*"', data)
    place = _somewhere(random, re.compile(r"<[\w:.-]+(?=[\s>])"), data)
    if declared is None or place is None or place.start() < declared.end():
        return None
    if declared[0] in data[place.end() : data.index(">", place.end())]:
        return None
    return _put(data, place.end(), place.end(), declared[0])


@text("namespace: a name changed")
def _(random: Random, data: str) -> str | None:
    place = _somewhere(random, re.compile(r'xmlns(?::[\w.-]+)?="([^"]*)"'), data)
    return place and _put(data, place.end(1), place.end(1), "x")


@text("namespace: a relative name declared")
def _(random: Random, data: str) -> str | None:
    place = _somewhere(random, re.compile(r"<[\w:.-]+"), data)
    return place and _put(data, place.end(), place.end(), ' xmlns:rel9="relative/name"')


# --- parts -------------------------------------------------------------------------------------


def _part(random: Random, message: Message) -> str | None:
    return random.choice(sorted(message.parts)) if message.parts else None


@whole("part: an octet changed")
def _(random: Random, message: Message) -> Message | None:
    name = _part(random, message)
    if name is None:
        return None
    content = bytearray(message.parts[name])
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return replace(message, parts={**message.parts, name: bytes(content)})


@whole("part: lengthened or cut")
def _(random: Random, message: Message) -> Message | None:
    name = _part(random, message)
    if name is None:
        return None
    content = message.parts[name]
    changed = random.choice([content + b"\n", content[:-1], b"", content.replace(b"<", b"\r\n<") + b" "])
    return replace(message, parts={**message.parts, name: changed})


@whole("part: removed")
def _(random: Random, message: Message) -> Message | None:
    name = _part(random, message)
    return name and replace(message, parts={k: v for k, v in message.parts.items() if k != name})


@whole("part: added")
def _(_random: Random, message: Message) -> Message | None:
    if message.profile != "ebms2":
        return None
    return replace(message, parts={**message.parts, "added@evil.example": b"never signed"})


@whole("part: two exchanged")
def _(random: Random, message: Message) -> Message | None:
    if len(message.parts) < 2:
        return None
    one, other = random.sample(sorted(message.parts), 2)
    changed = {**message.parts, one: message.parts[other], other: message.parts[one]}
    return replace(message, parts=changed)
