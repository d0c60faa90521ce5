"""MIME: what is read, what is refused, what is written reads back."""

from __future__ import annotations

import base64
import quopri
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.message_model import Body
from gateway.wire import (
    DEFAULT_LIMITS,
    MimePart,
    RelatedParts,
    is_text_xml,
    mime,
    parse_media_type,
    parse_xml,
    read_envelope,
    read_multipart_related,
    read_root_part,
    write_multipart_related,
)
from gateway.wire.header_fields import read_http_message
from tests.wire.refusal_capture import refusal

KIND = 'multipart/related; type="text/xml"; boundary=B'
ROOT = b"Content-Type: text/xml\r\nContent-ID: <r@x>\r\n\r\n<a/>"


def contents_of(parts: RelatedParts) -> dict[str, bytes | Body]:
    return {part.content_id: part.octets for part in parts.attachments if part.content_id}


def body(*parts: bytes, eol: bytes = b"\r\n") -> bytes:
    """A multipart body with boundary B."""
    return b"".join(b"--B" + eol + part + eol for part in parts) + b"--B--" + eol


def refused(content_type: str, octets: bytes, problem: str = "GW103", words: str = ".") -> None:
    with pytest.raises(GatewayError, match=words) as caught:
        read_multipart_related(content_type, octets)
    assert caught.value.problem.id == problem


# --- media types -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "name", "parameters"),
    [
        ("text/xml", "text/xml", {}),
        (" Text/XML ; Charset=UTF-8 ", "text/xml", {"charset": "UTF-8"}),
        ('a/b;c="d;e=\\"f\\\\";g=h', "a/b", {"c": 'd;e="f\\', "g": "h"}),
        ("a/b;", "a/b", {}),
        ("a/b; ; c=d;", "a/b", {"c": "d"}),
        ("multipart/related; boundary=a/b:c", "multipart/related", {"boundary": "a/b:c"}),
        (
            'a/b; boundary="-=1=-"; start-info="text/xml"',
            "a/b",
            {"boundary": "-=1=-", "start-info": "text/xml"},
        ),
        ("a/b; c = d", "a/b", {"c": "d"}),
        ('a/b; c=""', "a/b", {"c": ""}),
    ],
)
def test_media_types(written: str, name: str, parameters: dict[str, str]) -> None:
    found = parse_media_type(written)
    assert found.name == name
    assert dict(found.parameters) == parameters


@pytest.mark.parametrize(
    "written",
    [
        "",
        "text",
        "text/",
        "/xml",
        "text/xml charset=utf-8",
        "text/xml; charset",
        "text/xml; charset=",
        'text/xml; a="b',
        'text/xml; a="b"c',
        "text/xml; a=b c",
        "text/xml; a=1; A=2",
        "text/xml; a=b\r\nX: y",
        "te xt/xml",
        "text/xml; a=" + "b" * 5000,
        "a/b" + "".join(f";p{i}=1" for i in range(40)),
    ],
)
def test_what_is_no_media_type_is_refused(written: str) -> None:
    with pytest.raises(GatewayError) as caught:
        parse_media_type(written)
    assert caught.value.problem.id == "GW103"
    assert len(str(caught.value)) < 300


# --- the root ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["text/xml", "text/xml; charset=utf-8", 'application/soap+xml; charset="UTF-8"; action="x"']
)
def test_bare_xml_is_a_root_alone(kind: str) -> None:
    parts = read_multipart_related(kind, b"<a/>")
    assert parts == RelatedParts(MimePart({"content-type": kind}, "", kind.split(";")[0], b"<a/>"))


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("text/plain", b"<a/>"),
        ("multipart/mixed; boundary=B", body(ROOT)),
        ("multipart/form-data; boundary=B", b""),
        ("text/xml; charset=ISO-8859-1", b"<a/>"),
        ("text/xml; charset=bogus", b"<a/>"),
        ("text/xml; charset=us-ascii", "<é/>".encode()),
        ('multipart/related; type="text/html"; boundary=B', body(ROOT)),
        (KIND, body(b"Content-Type: image/png\r\n\r\nx")),
        (KIND, body(b"\r\n<a/>")),
    ],
)
def test_other_media_types_are_refused(kind: str, content: bytes) -> None:
    refused(kind, content, "GW101")


@pytest.mark.parametrize(
    ("start", "root"),
    [
        ("", "r@x"),
        ('; start="<p@x>"', "p@x"),
        ('; start="p@x"', "p@x"),
        ("; start=<p@x>", "p@x"),
        ('; start="<none>"', "r@x"),
    ],
)
def test_start_names_the_root_where_it_names_a_part(start: str, root: str) -> None:
    other = ROOT.replace(b"r@x", b"p@x")
    parts = read_multipart_related(KIND + start, body(ROOT, other))
    assert parts.root.content_id == root
    assert {part.content_id for part in (parts.root, *parts.attachments)} == {"r@x", "p@x"}


def test_the_type_parameter_may_be_missing() -> None:
    assert read_multipart_related("multipart/related; boundary=B", body(ROOT)).root.content == b"<a/>"


# --- parts -------------------------------------------------------------------------------


def _attachment(headers: bytes, content: bytes = b"x") -> MimePart:
    (part,) = read_multipart_related(KIND, body(ROOT, headers + b"\r\n" + content)).attachments
    return part


@pytest.mark.parametrize(
    ("written", "content_id"),
    [(b"<p@x>", "p@x"), (b"p@x", "p@x"), (b"<0d2f-77>", "0d2f-77"), (b"<a%20b/C+d>", "a%20b/C+d"), (b"", "")],
)
def test_content_ids(written: bytes, content_id: str) -> None:
    assert _attachment(b"Content-ID: " + written + b"\r\n").content_id == content_id


@pytest.mark.parametrize("written", [b"<p@x", b"p@x>", b"<p x>", b"<<p>>", b"<>", b"<" + b"p" * 300 + b">"])
def test_what_is_no_content_id_is_refused(written: bytes) -> None:
    refused(KIND, body(ROOT, b"Content-ID: " + written + b"\r\n\r\nx"), words="Content-ID")


@pytest.mark.parametrize("second", [b"<r@x>", b"r@x", b"<R@X>", b"<r%40x>", b"<%72@x>"])
def test_content_ids_that_some_take_for_the_same_are_refused(second: bytes) -> None:
    refused(KIND, body(ROOT, b"Content-ID: " + second + b"\r\n\r\nx"), words="stands twice")


def test_parts_without_content_id_are_kept_but_cannot_be_named() -> None:
    parts = read_multipart_related(
        KIND, body(ROOT, b"\r\none", b"Content-Type: a/b\r\n\r\ntwo", b"Content-ID: <p>\r\n\r\nthree")
    )
    assert [part.content for part in parts.attachments] == [b"one", b"two", b"three"]
    assert [part.media_type for part in parts.attachments] == ["text/plain", "a/b", "text/plain"]
    assert contents_of(parts) == {"p": b"three"}


def test_headers_are_unfolded_and_known_by_lower_case_name() -> None:
    part = _attachment(
        b"CONTENT-type: a/b;\r\n\tc=d\r\nX-Any:  one \r\nx-any:two\r\n"
        b'Content-Disposition: attachment; filename="\xc3\xa9"\r\n'
    )
    assert part.headers["content-type"] == "a/b; c=d"
    assert part.headers["x-any"] == "one, two"
    assert part.headers["content-disposition"] == 'attachment; filename="é"'


@pytest.mark.parametrize(
    "headers",
    [
        b"no colon\r\n",
        b" folded first\r\n",
        b": x\r\n",
        b"a b: c\r\n",
        b"Content-ID : <x>\r\n",
        b"X: a\x00b\r\n",
        b"X: a\nY: b\r\n",
        b"X: a\rY: b\r\n",
        b"X: \xff\r\n",
        b"X: \x1b[0m\r\n",
        b"Content-Type: a/b\r\nContent-Type: c/d\r\n",
        b"Content-ID: <a>\r\ncontent-id: <b>\r\n",
        b"Content-Transfer-Encoding: binary\r\nContent-Transfer-Encoding: base64\r\n",
        b"Content-Type: multipart/mixed; boundary=C\r\n",
        b"Content-Type: message/rfc822\r\n",
        b"Content-Type: x\r\n",
        b"Content-Transfer-Encoding: x-uuencode\r\n",
    ],
)
def test_broken_part_headers_are_refused(headers: bytes) -> None:
    refused(KIND, body(ROOT, headers + b"\r\nx"))


@pytest.mark.parametrize(
    ("headers", "place"),
    [
        (b"Content-ID: <p2@x>\r\nContent-Disposition: a;\r\n filename=\xb0\xa1\r\n", "part 2, cid:p2@x"),
        (b"Content-Disposition: filename=\xb0\xa1\r\n", "part 2"),
    ],
)
def test_a_field_that_is_not_utf8_is_named_with_its_part(headers: bytes, place: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_multipart_related(KIND, body(ROOT, headers + b"\r\nx"))
    told = f"GW103 the header field 'Content-Disposition' is not UTF-8 at {place}"
    assert str(caught.value) == told


@pytest.mark.parametrize("charset", ["utf8", "UTF-8", "utf_8", '"utf-8"'])
def test_utf8_is_known_by_each_of_its_names(charset: str) -> None:
    assert is_text_xml(f"text/xml; charset={charset}")
    assert read_multipart_related(f"text/xml; charset={charset}", b"<a/>").root.content == b"<a/>"


def test_a_part_of_header_fields_alone_is_empty() -> None:
    parts = read_multipart_related(
        KIND, body(ROOT, b"Content-ID: <p>\r\n", b"Content-ID: <q>\r\n\r\n", b"\r\n")
    )
    assert [part.content for part in parts.attachments] == [b"", b"", b""]


def test_a_part_without_empty_line_is_refused() -> None:
    refused(KIND, body(ROOT, b"Content-ID: <p>\r\nmock"), words="empty line")
    refused(KIND, body(ROOT, b"Content-ID: <p>"), words="empty line")


# --- transfer encodings ------------------------------------------------------------------

ANY = bytes(range(256))


@pytest.mark.parametrize(
    ("encoding", "written", "content"),
    [
        (b"binary", ANY, ANY),
        (b"8bit", "é\r\n".encode(), "é\r\n".encode()),
        (b"7bit", b"plain\r\n", b"plain\r\n"),
        (b"BASE64", base64.encodebytes(ANY), ANY),
        (b"base64", b" QU\r\nJD\t\r\n", b"ABC"),
        (b"base64", b"", b""),
        (b"Quoted-Printable", b"".join(b"=%02X" % octet for octet in ANY), ANY),
        (b"quoted-printable", b"a=3D=\r\nb=c3=A9\r\nc", b"a=b\xc3\xa9\r\nc"),
    ],
)
def test_transfer_encodings(encoding: bytes, written: bytes, content: bytes) -> None:
    part = _attachment(b"Content-Transfer-Encoding: " + encoding + b"\r\n", written)
    assert part.content == content


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        (b"7bit", "é".encode()),
        (b"base64", b"QUJ"),
        (b"base64", b"QUJD="),
        (b"base64", b"QQ=="[:3]),
        (b"base64", b"QUJD!"),
        (b"base64", b'QU"JD'),
        (b"base64", b"QQ==QQ=="),
        (b"base64", b"=QUJ"),
        (b"base64", b"QR=="),
        (b"base64", b"QUF="),
        (b"base64", b"QU-_"),
        (b"quoted-printable", b"a=3"),
        (b"quoted-printable", b"a=XY"),
        (b"quoted-printable", b"a= \r\n"),
        (b"quoted-printable", b"trailing \r\nx"),
        (b"quoted-printable", b"trailing\t"),
        (b"quoted-printable", "é".encode()),
        (b"quoted-printable", b"a\rb"),
        (b"quoted-printable", b"a\x00"),
        (b"quoted-printable", b"="),
    ],
)
def test_broken_transfer_encodings_are_refused(encoding: bytes, written: bytes) -> None:
    octets = b"Content-ID: <p@x>\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n" + written
    with pytest.raises(GatewayError) as caught:
        read_multipart_related(KIND, body(ROOT, octets))
    assert caught.value.problem.id == "GW103"
    assert caught.value.location == "cid:p@x"


@given(st.binary(max_size=60))
def test_both_encodings_decode_to_what_was_encoded(content: bytes) -> None:
    coded = base64.encodebytes(content)
    assert _attachment(b"Content-Transfer-Encoding: base64\r\n", coded).content == content
    quoted = quopri.encodestring(content, quotetabs=True).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    if b"\n" not in content and b"\r" not in content:
        assert _attachment(b"Content-Transfer-Encoding: quoted-printable\r\n", quoted).content == content


# --- boundaries --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "boundary", ["B", "-=e1b53f30=-", "--=_MIME-Boundary", "a" * 70, "(.)+", "a b", "==", "'()+_,-./:=?"]
)
def test_boundaries_of_every_kind(boundary: str) -> None:
    octets = body(ROOT, b"\r\nx").replace(b"--B", b"--" + boundary.encode())
    parts = read_multipart_related(f'multipart/related; boundary="{boundary}"', octets)
    assert parts.attachments[0].content == b"x"


@pytest.mark.parametrize("boundary", ["", "a" * 71, "a ", "a;b", "é", "a\\\tb", "a@b"])
def test_other_boundaries_are_refused(boundary: str) -> None:
    octets = body(ROOT).replace(b"--B", b"--" + boundary.encode())
    refused(f'multipart/related; boundary="{boundary}"', octets)


@pytest.mark.parametrize(
    "parameter",
    [
        "start*=utf-8''%3Cr@x%3E",
        "start*0=<r; start*1=@x>",
        "TYPE*=us-ascii''text%2Fxml",
        "charset*=utf-8''utf-8",
    ],
)
def test_what_some_readers_decode_and_some_do_not_see_is_refused(parameter: str) -> None:
    refused(f"multipart/related; boundary=B; {parameter}", body(ROOT), words="RFC 2231")
    refused(f"text/xml; {parameter}", b"<a/>", words="RFC 2231")
    part = b"Content-ID: <p@x>\r\nContent-Type: text/xml; " + parameter.encode() + b"\r\n\r\nx"
    refused("multipart/related; boundary=B", body(ROOT, part), words="RFC 2231")


def test_a_name_of_a_file_may_be_written_as_rfc_2231_has_it() -> None:
    part = b"Content-ID: <p@x>\r\nContent-Type: image/png; name*=utf-8''%EA%B0%80.png\r\n\r\nx"
    assert contents_of(read_multipart_related("multipart/related; boundary=B", body(ROOT, part))) == {
        "p@x": b"x"
    }


def coded(field: str) -> bytes:
    """A message with a part under a further header field."""
    return body(ROOT, b"Content-ID: <p@x>\r\n" + field.encode() + b"\r\n\r\nx")


@pytest.mark.parametrize(
    "field", ["Content-Encoding: GZIP", "Content-Encoding: utf-8, br", "Transfer-Encoding: chunked"]
)
def test_a_coding_of_http_on_a_part_is_refused(field: str) -> None:
    refused("multipart/related; boundary=B", coded(field), words="coding of HTTP")


@pytest.mark.parametrize("value", ["identity", "UTF-8", "binary", ""])
def test_a_word_that_is_no_coding_changes_nothing(value: str) -> None:
    for name in ("Content-Encoding", "Transfer-Encoding"):
        read = read_multipart_related("multipart/related; boundary=B", coded(f"{name}: {value}"))
        assert contents_of(read) == {"p@x": b"x"}


def test_a_missing_boundary_parameter_is_refused() -> None:
    refused("multipart/related; type=text/xml", body(ROOT), words="boundary")


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"", "does not occur"),
        (b"<a/>", "does not occur"),
        (b" --B\r\n" + ROOT + b"\r\n--B--", "first boundary is the final"),
        (b"--B--\r\n", "first boundary is the final"),
        (b"--B", "first boundary is the final"),
        (b"--B\r\n" + ROOT, "final boundary is missing"),
        (b"--B\r\n" + ROOT + b"\r\n--B\r\n", "final boundary is missing"),
        (b"--B\r\n" + ROOT + b"\r\n--B", "final boundary is missing"),
        (b"--B\r\n" + ROOT + b"--B--\r\n", "final boundary is missing"),
        (b"--Bx\r\n" + ROOT + b"\r\n--B--", "other characters"),
        (b"--B\r\n" + ROOT + b"\r\n--Bx\r\n--B--", "other characters"),
        (b"--B\r\n" + ROOT + b"\r\n--B--x\r\n", "other characters"),
        (b"--B\r\n" + ROOT + b"\r\n--B-\r\n", "other characters"),
        (b"--B\r\n--B--\r\n", "empty"),
        (b"--B\r\n" + ROOT + b"\r\n--B\r\n--B--\r\n", "empty"),
        (b"--B\r\n" + ROOT + b"\n--B--\r\n", "line ends differ"),
        (b"--B\r\n" + ROOT + b"\r\n--B--\n", "line ends differ"),
        (b"--B\n" + ROOT + b"\r\n--B--\n", "line ends differ"),
        (b"--B\n" + ROOT + b"\n--B--\r\n", "line ends differ"),
        (b"pre\n--B\r\n" + ROOT + b"\r\n--B--\r\n", "line ends differ"),
        (b"pre\r\n--B\n" + ROOT.replace(b"\r\n", b"\n") + b"\n--B--\n", "line ends differ"),
        (b"--B\r\n" + ROOT + b"\r\n--B--\r\n--B\r\n" + ROOT + b"\r\n--B--", "after the final"),
        (b"--B\r\n" + ROOT + b"\r\n--B--\r\nx\r\n--B\r\n", "after the final"),
    ],
)
def test_what_is_ambiguous_is_refused(octets: bytes, words: str) -> None:
    refused(KIND, octets, words=words)


@pytest.mark.parametrize(
    "octets",
    [
        body(ROOT, b"\r\nx"),
        body(ROOT, b"\r\nx")[:-2],
        b"This is a multi-part message.\r\n\r\n" + body(ROOT, b"\r\nx"),
        b"\r\n" + body(ROOT, b"\r\nx") + b"\r\nafter\r\n",
        body(ROOT, b"\r\nx").replace(b"--B\r\n", b"--B \t\r\n"),
        body(ROOT.replace(b"\r\n", b"\n"), b"\nx", eol=b"\n"),
    ],
)
def test_the_same_message_in_other_clothes(octets: bytes) -> None:
    parts = read_multipart_related(KIND, octets)
    assert parts.root.content == b"<a/>"
    assert [part.content for part in parts.attachments] == [b"x"]


@pytest.mark.parametrize(
    "content", [b"--B", b"x--B\r\ny", b"\r\n", b"\r\n\r\n", b" --B--", b"-\r\n-B", b"\n", b"\r"]
)
def test_contents_that_look_like_framing_arrive_whole(content: bytes) -> None:
    if content == b"--B":  # it stands at the start of a line there
        refused(KIND, body(ROOT, b"\r\n" + content))
    else:
        assert _attachment(b"", content).content == content


# --- limits ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "octets"),
    [
        ({"body": 50}, body(ROOT)),
        ({"parts": 2}, body(ROOT, b"\r\n1", b"\r\n2")),
        ({"part_headers": 40}, body(ROOT)),
        ({"part_header_count": 1}, body(ROOT)),
    ],
)
def test_limits(change: dict[str, int], octets: bytes) -> None:
    read_multipart_related(KIND, octets)
    with pytest.raises(GatewayError) as caught:
        read_multipart_related(KIND, octets, replace(DEFAULT_LIMITS, **change))
    assert caught.value.problem.id == "GW102"


QUOTED = b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
HOSTILE = {
    "empty parts": (KIND, b"--B\r\n\r\n\r\n" * 1_000_000 + b"--B--"),
    "line feeds": (KIND, body(ROOT, b"\r\n" + b"\n" * 20_000_000)),
    "near boundaries": (
        'multipart/related; boundary="' + "-" * 69 + 'x"',
        b"--" + b"-" * 69 + b"x\r\n" + b"\n" + b"-" * 20_000_000,
    ),
    "header lines": (KIND, b"--B\r\n" + b"a:b\r\n" * 2_000_000 + b"\r\n--B--"),
    "folded lines": (KIND, b"--B\r\nx: y\r\n" + b" z\r\n" * 3_000 + b"\r\n--B--"),
    "no end": (KIND, b"--B\r\n" + b"\r\n" * 10_000_000),
    "parameters": ("multipart/related" + "; a*0*=x" * 400, b""),
    "quoted": ('multipart/related; boundary="' + "\\a" * 2_000, b""),
    "padding": (KIND, b"--B" + b" " * 20_000_000 + b"x"),
    "base64": (KIND, body(ROOT, b"Content-Transfer-Encoding: base64\r\n\r\n" + b"A \r\n" * 5_000_000 + b"!")),
    "quoted-printable": (KIND, body(ROOT, QUOTED + b"=\r\n" * 5_000_000 + b"=")),
    "spaces": (KIND, body(ROOT, QUOTED + b" " * 10_000_000 + b"\x00")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_framing_costs_linear_time(name: str) -> None:
    kind, octets = HOSTILE[name]
    started = time.process_time()
    error = refusal(lambda: read_multipart_related(kind, octets))
    assert error is None or (error.problem.id in ("GW101", "GW102", "GW103") and len(str(error)) < 400)
    assert time.process_time() - started < 20


@pytest.mark.parametrize(
    ("octets", "good"), [(DEFAULT_LIMITS.padding, True), (DEFAULT_LIMITS.padding + 1, False)]
)
def test_so_many_octets_stand_before_the_first_boundary(octets: int, good: bool) -> None:
    preamble = b"x" * (octets - 2) + b"\r\n"
    error = refusal(lambda: read_multipart_related(KIND, preamble + body(ROOT)))
    assert (error is None) == good
    assert good or (error is not None and "before the first boundary" in error.detail)


@pytest.mark.long
@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=80),
    st.lists(st.sampled_from([b"--B", b"--", b"\r\n", b"\n", ROOT, b"a: b", b"x", b" "]), max_size=14),
)
def test_garbage_gives_parts_or_a_gateway_error(kind: bytes, pieces: list[bytes]) -> None:
    for content_type in (KIND, kind.decode("latin-1")):
        error = refusal(lambda kind=content_type: read_multipart_related(kind, b"".join(pieces)))
        assert error is None or error.problem.id in ("GW101", "GW102", "GW103")


# --- writing -----------------------------------------------------------------------------

IDS = st.from_regex(r"[a-z0-9.\-]{1,12}(@[a-z0-9.]{1,8})?", fullmatch=True)
TYPES = st.sampled_from(["text/xml", "application/pdf", "application/octet-stream", "text/plain"])
VALUES = st.from_regex(r"[!-~é]([ -~é]{0,12}[!-~é])?", fullmatch=True)


@st.composite
def attachments(draw: st.DrawFn) -> MimePart:
    media, content_id = draw(TYPES), draw(IDS)
    headers = {
        "content-type": draw(st.sampled_from([media, f"{media}; charset=UTF-8"])),
        "content-id": f"<{content_id}>",
    }
    headers |= draw(st.dictionaries(st.sampled_from(["content-description", "x-any"]), VALUES, max_size=2))
    return MimePart(headers, content_id, media, draw(st.binary(max_size=40)))


@pytest.mark.long
@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=40),
    st.lists(attachments(), max_size=4, unique_by=lambda part: part.content_id),
    IDS.map("root-".__add__),
)
def test_what_is_written_reads_back(root: bytes, parts: list[MimePart], root_id: str) -> None:
    kind, octets = write_multipart_related(root, parts, "=_frontier", root_id)
    found = read_multipart_related(kind, octets)
    assert found.root.content == root
    assert found.root.content_id == root_id
    assert list(found.attachments) == parts
    again = write_multipart_related(
        found.root.content, found.attachments, "=_frontier", found.root.content_id
    )
    assert again == (kind, octets)


def test_soap12_roots_say_so() -> None:
    kind, octets = write_multipart_related(b"<a/>", [], "B", "r@x", "application/soap+xml")
    assert 'type="application/soap+xml"' in kind
    assert read_multipart_related(kind, octets).root.media_type == "application/soap+xml"


@pytest.mark.parametrize(
    ("root", "boundary", "part"),
    [
        (b"<a>--B</a>", "B", MimePart({}, "p", "a/b", b"")),
        (b"<a/>", "B", MimePart({}, "p", "a/b", b"--B")),
        (b"<a/>", "", MimePart({}, "p", "a/b", b"")),
        (b"<a/>", "a" * 71, MimePart({}, "p", "a/b", b"")),
        (b"<a/>", "é", MimePart({}, "p", "a/b", b"")),
        (b"<a/>", "B", MimePart({}, "R@x", "a/b", b"")),
        (b"<a/>", "B", MimePart({}, "p\r\nX: y", "a/b", b"")),
        (b"<a/>", "B", MimePart({"x": "a\r\nb"}, "p", "a/b", b"")),
        (b"<a/>", "B", MimePart({"x:y": "a"}, "p", "a/b\nc", b"")),
    ],
)
def test_what_would_not_read_back_is_not_written(root: bytes, boundary: str, part: MimePart) -> None:
    with pytest.raises(GatewayError):
        write_multipart_related(root, [part], boundary, "r@x")


# --- what others wrote -------------------------------------------------------------------

HEADER = (
    b'<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/"><S:Header/><S:Body>'
    + "✓ café".encode()
    + b"</S:Body></S:Envelope>"
)
TEMPLATE_KIND = (
    'multipart/related; boundary="--=_MIME-Boundary"; type="text/xml"; charset=UTF-8; '
    'start="<ebXMLHeader@spine.nhs.uk>"'
)
TEMPLATES: dict[str, list[int] | str] = {
    "nhs-ebxml_request": [51],
    "nhs-ebxml_request_multibyte_character": [25],
    "nhs-ebxml_request_no_ack_requested": [51],
    "nhs-ebxml_request_no_encoding": [51, 62],
    "nhs-ebxml_request_no_payload": [],
    "nhs-ebxml_request_no_sync_reply": [51],
    "nhs-ebxml_request_one_8bit_attachment": [51, 12],
    "nhs-ebxml_request_one_attachment_application_xml_content_type": [51, 12],
    "nhs-ebxml_request_one_binary_attachment": [51, 41],
    "nhs-ebxml_request_invalid_binary_ebxml_header": "GW101",
    "nhs-ebxml_request_one_attachment_text_plain_content_compressed": "GW103",  # quotes within base64
    "nhs-ebxml_request_payload_defect": "GW103",  # no empty line before the content
}


@pytest.mark.vectors
@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_of_the_nhs(vectors: Path, name: str) -> None:
    octets = (vectors / f"outside/ebms2/messages/{name}.msg").read_bytes().replace(b"{{ebxml}}", HEADER)
    expected = TEMPLATES[name]
    if isinstance(expected, str):
        refused(TEMPLATE_KIND, octets, expected)
        return
    parts = read_multipart_related(TEMPLATE_KIND, octets)
    assert parts.root.content == HEADER
    assert [len(part.content) for part in parts.attachments] == expected


LIVE = {
    "message-signed.http": [96],
    "message-signed-as-sent.raw": [96],
    "message-signed-sync.http": [96],
    "message-signed-two-payloads.http": [96, 256],
    "message-unsigned.http": [96],
    "message-without-payload.http": [],
    "acknowledgment-signed.http": [],
    "acknowledgment-signed-sync-response.http": [],
    "fault-unknown-cpa-response.http": [],
    "ping.http": [],
}


@pytest.mark.vectors
@pytest.mark.parametrize("name", LIVE)
def test_messages_of_ebms_core(vectors: Path, name: str) -> None:
    message = read_http_message((vectors / f"outside/ebms2/ebms-core-live/{name}").read_bytes())
    parts = read_multipart_related(message.headers["content-type"], message.body)
    assert [len(part.content) for part in parts.attachments] == LIVE[name]
    assert "@" not in "".join(contents_of(parts))
    assert read_envelope(parse_xml(parts.root.content)).version == "1.1"


@pytest.mark.vectors
@pytest.mark.parametrize("name", ["navikt-riktigsignature", "navikt-tekkopplysning"])
def test_messages_of_navikt(vectors: Path, name: str) -> None:
    """Kept as text: the first line is indented, lines end in bare line feeds, base64 even of the root."""
    message = read_http_message((vectors / f"outside/ebms2/messages/{name}.txt").read_bytes().lstrip())
    parts = read_multipart_related(message.headers["content-type"], message.body)
    assert len(parts.attachments) == 1
    read_envelope(parse_xml(parts.root.content))


@pytest.mark.parametrize("start", ["", "; start=a@b", '; start="<c@d>"', "; start=nobody@x"])
def test_the_root_alone_is_the_root_of_all_parts(start: str) -> None:
    other = b"Content-Type: text/xml\r\nContent-ID: <c@d>\r\n\r\n<other/>"
    first = b"Content-Type: text/xml\r\nContent-ID: <a@b>\r\n\r\n<first/>"
    octets = body(first, other)
    assert read_root_part(KIND + start, octets) == read_multipart_related(KIND + start, octets).root
    assert read_root_part("text/xml", b"<a/>").content == b"<a/>"


def test_what_follows_the_root_is_not_read() -> None:
    octets = body(ROOT, ROOT).replace(b"--B--", b"--B and more")
    refused(KIND, octets)
    assert read_root_part(KIND, octets).content == read_multipart_related(KIND, body(ROOT)).root.content


@pytest.mark.parametrize("coding", ["base64", "quoted-printable", "7bit"])
def test_parts_that_must_be_decoded_have_room_together(monkeypatch: pytest.MonkeyPatch, coding: str) -> None:
    monkeypatch.setattr(mime, "_MAX_DECODED_OCTETS", 3 * 2**20)
    head = f"Content-Type: a/b\r\nContent-Transfer-Encoding: {coding}\r\nContent-ID: <%d@x>\r\n\r\n"
    part = b"QUJD" * (2**18 + 2**17)
    two = MemoryPart(body(ROOT, *[(head % n).encode() + part for n in range(2)]))
    assert len(read_multipart_related(KIND, two).attachments) == 2
    three = MemoryPart(body(ROOT, *[(head % n).encode() + part for n in range(3)]))
    with pytest.raises(GatewayError, match="GW102 parts of more than 3145728 octets together"):
        read_multipart_related(KIND, three)
    plain = three.content.replace(coding.encode(), b"binary")
    assert len(read_multipart_related(KIND, MemoryPart(plain)).attachments) == 3


class MemoryPart:
    """A large body that is not in memory, as its reader takes it."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.octet_count = len(content)
        self.sha256_hex = ""

    def open_stream(self) -> BytesIO:
        return BytesIO(self.content)
