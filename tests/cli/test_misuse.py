"""Misuse of the command line: one id, one sentence, its place once, and where help is."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.verb_runner import _MISUSE_ID
from gateway.errors import MISUSE

PLACE = "PLACE"

#: Misuse of each kind. PLACE is a folder with a settings file, a file of text, and a database.
SUBMIT = "submit PLACE/text --as nobody --to http://127.0.0.1:9 --partner PLACE"
ROUTE = "route add urn:x nobody --from other https://x.example"
PULL = "pull --as nobody --folder PLACE/out --partner PLACE"
MISUSED = [
    "frobnicate",
    "case lst",
    "case show",
    "case list --hoem x",
    "case list --limit many",
    "case list --config PLACE/none.toml",
    "case list --home PLACE/none",
    "party list --home PLACE/text",
    "check --config PLACE",
    "agreement load PLACE/none.yaml --home PLACE",
    "agreement load PLACE/text --home PLACE",
    "declaration check --what PLACE/text",
    "declaration check PLACE/none.xml",
    "declaration check PLACE",
    "map check --path PLACE/none",
    "map use --home PLACE",
    "map use PLACE/none --home PLACE",
    "map explain",
    "map import PLACE/none --out PLACE/out",
    "map split PLACE/none.xml",
    "map read PLACE/none.xml",
    "map sample NO-SUCH-DOCUMENT",
    "map build --path PLACE/none --out PLACE/out",
    "verify PLACE/none.http",
    "verify PLACE/text --trust PLACE/none.pem",
    "signature verify PLACE/none.xml",
    "message split PLACE/none.http --size 9 --key PLACE/none.pem --out PLACE/out",
    "message join PLACE/none.http --out PLACE/out",
    "signature verify PLACE/text --trust PLACE/none.pem",
    "signature make PLACE/none.xml --key PLACE/none.pem",
    "payload encrypt PLACE/none.xml --for PLACE/none.pem --out PLACE/out",
    "payload decrypt PLACE/none.xml --decryption-key PLACE/none.pem --out PLACE/out",
    "submit PLACE/none.xml",
    "submit PLACE/text --as nobody --to http://127.0.0.1:9 --partner PLACE",
    "submission check PLACE/text --as nobody --partner PLACE",
    "evidence verify PLACE/none.json",
    "evidence certificate --home PLACE",
    "pki validate",
    "pki validate --leaf PLACE/none.pem --anchor PLACE/none.pem",
    "pki revoke PLACE/none.pem --ca PLACE/none",
    "pki issue PLACE/none.csr --ca PLACE/none --out PLACE/x.pem",
    "pki list show PLACE/none.xml --signer PLACE/none.pem",
    "pki list make PLACE/none.toml --key PLACE/none.pem --certificate PLACE/none.pem --out PLACE/l.xml",
    "pki crl PLACE/none.pem --home PLACE",
    "pki source refresh nowhere --home PLACE",
    "pki source forget nowhere --home PLACE",
    "conformance run hostile --url ftp://nowhere",
    "conformance run hostile --partner PLACE",
    "conformance run hostile --url http://127.0.0.1:9 --partner PLACE/none",
    "conformance run hostile --only NO-SUCH-CASE",
    "serve --home PLACE",
    "message list --limit -1",
    "message list --limit x",
    "map sample NO-SUCH-DOCUMENT --seed a",
    "conformance run hostil",
    "agreement load PLACE/octets --home PLACE",
    "pki list make PLACE/octets --key PLACE/none.pem --certificate PLACE/none.pem --out PLACE/l.xml",
    "pki list make PLACE/empty --key PLACE/none.pem --certificate PLACE/none.pem --out PLACE/l.xml",
    "submit PLACE/text --as nobody --to foo --partner PLACE",
    "submit PLACE/text --as nobody --to ftp://other --partner PLACE",
    "run --home PLACE",
    "order show HUGE --home PLACE",
    "order reset HUGE --reason r --home PLACE",
    "order release HUGE --reason r --home PLACE",
    "route add urn:x nobody http://x.example:65536/ --from other --home PLACE",
    "route add urn:x nobody http://name@x.example/ --from other --home PLACE",
    "route add urn:x nobody http://:80/ --from other --home PLACE",
    "route add urn:x nobody https://x.example --from other --retries HUGE --home PLACE",
    "route remove HUGE --home PLACE",
    "queue show HUGE --home PLACE",
    "queue hold HUGE --home PLACE",
    "queue requeue HUGE --home PLACE",
    "queue cancel HUGE --home PLACE",
    "audit show HUGE --home PLACE",
    "party mandate revoke HUGE --home PLACE",
    "submit PLACE/text --as nobody --to https://x.example --partner PLACE --retries HUGE",
    *(f"{SUBMIT} --wait {text}" for text in ("inf", "nan", "-1", "x")),
    *(f"{SUBMIT} --retry-interval {text}" for text in ("inf", "nan", "-1")),
    *(f"{SUBMIT} --time-out {text}" for text in ("inf", "nan", "-1", "0", "1e10")),
    *(f"{PULL} --to {text}" for text in ("foo", "http://[x", "http://x.example:99999/")),
    *(f"{PULL} --every {text}" for text in ("nan", "0")),
    "pki source refresh --wait nan --home PLACE",
    "map sample KFDA-FOOD-IMP --seed HUGE",
    "map check --samples HUGE",
    "pki key show --times HUGE --home PLACE",
]


#: Notations of Python and of its libraries, which nobody who calls a verb has to know.
FOREIGN = r"\['|\{'|\(\)|codec|<=x|x>=|valid integer|'\{\w+\}'|Error\b"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("misuse")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (home / "gateway.toml").write_text(f"[http]\nport = {taken.getsockname()[1]}\n")
        (home / "text").write_text("a text\n")
        (home / "octets").write_bytes(b"\x98\x00")
        (home / "empty").write_bytes(b"")
        assert main(["migrate", "--new", "--home", str(home)]) == 0
        yield home


def provoke(capsys: pytest.CaptureFixture[str], words: str, place: Path) -> str:
    capsys.readouterr()
    assert main(words.replace(PLACE, str(place)).replace("HUGE", "9" * 20).split()) == 2, words
    printed = capsys.readouterr()
    assert printed.out == "", words
    return printed.err


def find_repeated_places(sentence: str) -> list[str]:
    """Return paths, options, keys and addresses that a sentence names more than once."""
    told = re.sub(r" Try `[^`]*`\.$", "", sentence)
    places = re.findall(r"/[\w./-]{4,}|--[a-z-]+|\b[a-z_]+\.[a-z_]+\b|\d+\.\d+\.\d+\.\d+:\d+", told)
    return [one for one in set(places) if told.count(one) > 1]


def test_the_id_is_that_of_the_catalogue() -> None:
    assert MISUSE.id == _MISUSE_ID == "GW808"


@pytest.mark.night
@pytest.mark.parametrize("words", MISUSED)
def test_misuse_is_one_sentence_that_says_its_place_once_and_where_help_is(
    words: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = provoke(capsys, words, place)
    assert re.fullmatch(
        r"gateway: GW808 \S.*\. Try `gateway [a-z ]*--help`\.\n", told.replace("?. T", ". T")
    ) or (re.fullmatch(r"gateway: GW808 \S.*\? Try `gateway [a-z ]*--help`\.\n", told)), told
    assert told.count("GW808") == 1
    assert not find_repeated_places(told.rstrip()), told
    assert "Traceback" not in told
    assert not re.search(FOREIGN, told), told


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("message list --limit -1", "invalid value for '--limit': -1 is not between 1 and 100000"),
        ("message list --limit x", "invalid value for '--limit': 'x' is not a whole number"),
        ("agreement load PLACE/octets --home PLACE", "expected UTF-8, found octet 0x98 at position 1"),
        ("pki list make PLACE/empty --key k --certificate c --out l", "the description is empty"),
        ("submit PLACE/text --as nobody --to foo --partner PLACE", "'foo' is no URL as https://"),
        ("conformance run hostil", "GW808 'hostil' is not"),
        (f"party add a --id {'가' * 342} --home PLACE", "a party id has more than 1,024 octets"),
        (f"{ROUTE} --service urn:{'x' * 637} --home PLACE", "service has more than 640 octets"),
        (f"{ROUTE.replace('urn:x', 'x' * 641 + '|x')} --home PLACE", "the To party has more than 640 octets"),
        (f"{ROUTE}/{'x' * 1000} --home PLACE", "the endpoint has more than 1,000 octets"),
    ],
)
def test_misuse_is_told_in_plain_words(
    words: str, sentence: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in provoke(capsys, words, place)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("party add pp --certificate PLACE/empty --home PLACE", "GW205"),
        ("submission check PLACE/text --trust PLACE/empty", "GW205"),
        ("signature make PLACE/text --key PLACE/text --out PLACE/out", "GW"),
        ("map read PLACE/text", "GW104"),
    ],
)
def test_what_is_wrong_in_a_file_names_the_file(
    words: str, problem: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.replace("PLACE", str(place)).split()) != 0
    told = capsys.readouterr().err
    assert problem in told
    assert told.count(str(place)) == 1


@pytest.mark.night
@pytest.mark.parametrize("words", MISUSED)
def test_misuse_with_json_is_one_object(words: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(provoke(capsys, f"{words} --json", place))
    assert told.keys() == {"problem", "detail", "location", "help"}
    assert told["problem"] == "GW808"
    assert told["help"].endswith("--help")


@pytest.mark.parametrize(
    ("text", "key"),
    [("[http]\nprot = 1\n", "http.prot"), ("[http]\nport = 'x'\n", "http.port"), ("[", "not TOML")],
)
def test_wrong_settings_are_told_as_such_and_say_their_key_once(
    text: str, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gateway.toml").write_text(text)
    told = provoke(capsys, "case list --home PLACE", tmp_path)
    assert told.startswith("gateway: GW801 ")
    assert told.count(key) == 1
    assert told.count("gateway.toml") == 1


def test_a_story_that_is_not_there_is_misuse_and_lists_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["demo", "--story", "nope"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "a story must be one of amendment, " in printed.err
