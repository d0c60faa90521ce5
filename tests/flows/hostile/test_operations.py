"""What clocks and operators do wrong, and others to them: jumps, replays after years, bad agreements."""

from __future__ import annotations

import configparser
import re
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from lxml import etree
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sqlalchemy import Engine

from gateway.cli import main
from gateway.errors import GatewayError
from gateway.harmonize import load_bundle
from gateway.message_model import ErrorSignal, Receipt
from gateway.operations import load_unchecked_agreement
from gateway.store import make_engine, write_transaction
from tests.harmonize import small_bundle
from tests.kit import pictures
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.house import AGREEMENT, PARTY_TYPE, START, House, Neighbour
from tests.kit.paths import ROOT
from tests.kit.story import AGENCIES, Story, unreachable

JUMPS = (-1, 1, -1, 2, -3)


@BOTH_AT_LANDING
def test_a_replay_after_years_gets_the_first_receipt_and_nothing_else(engine: Engine) -> None:
    """Longer than any duplicate window: persist_duration has passed, the time to live too."""
    house = House(engine)
    broker = Neighbour("broker1", house.clock)
    parcel = broker.seal(broker.message(expires_at=START + timedelta(hours=1)))
    first = house.post(parcel)
    assert isinstance(broker.open(first, parcel).unit, Receipt)
    for days in (6, 400, 1000):
        house.clock.now = START + timedelta(days=days)
        assert house.post(parcel, house.new_hub()).body == first.body
    fresh = broker.seal(broker.message(expires_at=START + timedelta(hours=1)))
    refused = broker.open(house.post(fresh)).unit
    assert isinstance(refused, ErrorSignal)
    assert refused.errors[0].code == "TimeToLiveExpired"


def test_a_clock_that_jumps_makes_no_duplicate_and_loses_nothing(engine: Engine) -> None:
    story = Story(engine)
    story.clock.forward(hours=10)  # so that no jump leads before the time of the certificates
    unit = story.submit()
    story.say("KPTA", unreachable(), unreachable())
    parcel = story.broker.seal(unit)
    first = story.house.post(parcel).body
    assert b"Acknowledgment" in first
    for hours in JUMPS:
        story.tick(hours=hours)
        assert story.house.post(parcel).body == first, "a duplicate is known at whatever time"
    story.tick(hours=6)
    called = [call.destination for call in story.soap.calls]
    assert [called.count(one) for one in AGENCIES] == [3, 1, 1], "KPTA twice in vain"
    assert len({call.envelope for call in story.soap.calls if call.destination == "KPTA"}) == 1
    story.decide_all()
    for hours in JUMPS:
        story.tick(hours=hours)
    story.tick(hours=6)
    assert story.case().state == "CLOSED"
    assert len(story.inbox.documents("Result")) == 1
    assert story.customs_codes() == ["18", "19"]


def test_a_clock_that_jumps_takes_nothing_that_has_expired(engine: Engine) -> None:
    house = House(engine)
    broker = Neighbour("broker1", house.clock)
    parcel = broker.seal(broker.message(expires_at=START + timedelta(minutes=30)))
    house.clock.forward(hours=1)
    refused = broker.open(house.post(parcel)).unit
    assert isinstance(refused, ErrorSignal)
    assert refused.errors[0].code == "TimeToLiveExpired"
    house.clock.forward(hours=-1)
    assert isinstance(broker.open(house.post(parcel), parcel).unit, Receipt), "put right, it is in time"
    house.clock.forward(hours=1)
    again = broker.open(house.post(parcel), parcel).unit
    assert isinstance(again, Receipt), "taken once, it stays taken"


def test_a_clock_before_a_certificate_s_time_takes_nothing(engine: Engine) -> None:
    """The certificates of the house begin an hour before its start."""
    house = House(engine)
    broker = Neighbour("broker1", house.clock)
    house.clock.forward(hours=-2)
    answer = house.post(broker.seal(broker.message()))
    assert b"GW206" in answer.body
    assert b"Acknowledgment" not in answer.body


UPLOADS = {
    "a document type": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
    "an object of Python": AGREEMENT.replace(b"role: Hub", b"role: !!python/object/apply:os.system ['id']"),
    "an anchor": AGREEMENT.replace(b"role: Hub", b"role: &a Hub"),
    "weak algorithms by a name of their own": AGREEMENT.replace(b"policy: strict ", b"policy: rsa-sha1 "),
    "an endpoint that is a file": AGREEMENT.replace(
        b"http://127.0.0.1:8901/msh/ebms2", b"file:///etc/passwd"
    ),
    "an endpoint of another scheme": AGREEMENT.replace(b"http://127.0.0.1:8901/msh/ebms2", b"gopher://h/x"),
    "no signature and a signed receipt of nobody": AGREEMENT.replace(b"sign: true ", b"sign: maybe "),
    "a party with an id of no kind": AGREEMENT.replace(
        b"{type: urn:example:party-type, value: broker1}", b"{value: '*'}"
    ),
    "an end before the beginning": AGREEMENT.replace(b"2031-01-01", b"2020-01-01"),
    "five hundred P-Modes of one id": AGREEMENT
    + b"".join(b"  - {id: x, from: applicant, to: hub, service: 'urn:x', action: A}\n" for _ in range(500)),
}


@pytest.mark.parametrize("data", UPLOADS.values(), ids=UPLOADS)
def test_an_agreement_that_is_not_one_is_refused_with_its_place(
    sqlite_url: str, tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert data != AGREEMENT
    engine = make_engine(sqlite_url)
    house = House(engine)
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[database]\nurl = "{url}"\n')
    file = tmp_path / "uploaded.yaml"
    file.write_bytes(data)
    status = main(["agreement", "load", str(file), "--home", str(tmp_path)])
    told = capsys.readouterr()
    if data.startswith(b"<"):  # read as a CPA, which is found wanting
        assert status == 1
        assert (
            "error xml: a document type declaration is not allowed (uploaded.yaml:1 /)" in told.out + told.err
        )
    else:
        assert status == 2
        assert re.match(r"gateway: GW808 .* at uploaded\.yaml", told.err)
        assert told.err.count("\n") == 1
    broker = Neighbour("broker1", house.clock)
    parcel = broker.seal(broker.message())
    assert isinstance(broker.open(house.post(parcel), parcel).unit, Receipt), "what was in force is in force"
    engine.dispose()


def test_a_star_in_an_agreement_is_a_star_and_no_wildcard(engine: Engine) -> None:
    star = AGREEMENT.replace(b"value: broker1}", b"value: '*'}").replace(b"broker1-hub", b"star-hub")
    house = House(engine)
    with write_transaction(engine) as conn:
        load_unchecked_agreement(
            conn,
            star.replace(b"{id: broker1-", b"{id: star-").replace(b"id: broker1-store", b"id: star-store"),
            "star.yaml",
            START,
        )
    other = Neighbour("broker1", house.clock, star)
    with pytest.raises(GatewayError) as refused:
        other.seal(other.message())
    assert refused.value.problem.id == "GW302", "not even its own maker can send by it"
    assert PARTY_TYPE.encode() in star


def test_every_dependency_ends_before_its_next_great_version() -> None:
    """Not a lock: a lower and an upper bound, so that nobody gets what nobody has tried."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    wanted = config["options"]["install_requires"].split("\n") + [
        line for extra in config["options.extras_require"].values() for line in extra.split("\n")
    ]
    lines = [line.strip() for line in wanted if line.strip()]
    assert len(lines) > 20
    assert [line for line in lines if not re.match(r"\S+(>=[\d.]+,<[\d.]+|==[\d.]+)", line)] == []


#: What an inventory of somebody else may call a field.
_MARKUP = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def test_what_is_drawn_as_a_page_is_text(tmp_path: Path) -> None:
    """Names in a mapping may come from an agency: in the page of `map matrix` they are words."""
    folder = small_bundle.write(tmp_path)
    file = folder / "common.yaml"
    quoted = "'" + _MARKUP.replace("'", "''") + "'"
    text = file.read_text(encoding="utf-8")
    assert "en: Importer}" in text
    file.write_text(text.replace("en: Importer}", f"en: {quoted}}}"), encoding="utf-8")
    drawn = pictures.drawn("TINY", load_bundle(folder))
    tree = etree.fromstring(drawn.removeprefix("<!DOCTYPE html>\n"))
    names = {etree.QName(one).localname for one in tree.iter("*")}
    assert not names & {"script", "img"}
    assert any(_MARKUP in (one.text or "") or _MARKUP in one.attrib.values() for one in tree.iter("*"))


_LOCKED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)(?: ; (?P<marker>[^\\]+?))? \\")


def _lock() -> dict[str, tuple[str, str, list[str]]]:
    """Return of each locked package its version, its marker and its digests."""
    found: dict[str, tuple[str, str, list[str]]] = {}
    current: list[str] = []
    for line in (ROOT / ".ci" / "requirements.lock").read_text(encoding="utf-8").splitlines():
        entry = _LOCKED.fullmatch(line)
        if entry:
            current = []
            found[canonicalize_name(entry["name"])] = (entry["version"], entry["marker"] or "", current)
        else:
            digest = re.fullmatch(r"    --hash=sha256:([0-9a-f]{64})(?: \\)?", line)
            assert digest, f"neither a package nor a digest: {line}"
            current.append(digest[1])
    return found


def test_every_dependency_is_locked_by_hash() -> None:
    """`pip install --require-hashes -r .ci/requirements.lock` takes these octets and no others.

    Every requirement is in the lock, within its bounds, and so is everything that an installed
    one asks for here, so that pip never has to look for anything else.
    """
    lock = _lock()
    assert all(digests for _, _, digests in lock.values())
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = config["options.extras_require"]
    served = (extras[name] for name in ("postgresql", "hsm", "s3"))
    wanted = "\n".join([config["options"]["install_requires"], *served])
    for line in filter(None, (one.strip() for one in wanted.split("\n"))):
        requirement = Requirement(line)
        version, marker, _ = lock[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{line} is locked at {version}"
        assert not marker or requirement.marker, f"{line} is locked for some machines only"
    missing = sorted(f"{name} for {one}" for one in lock for name in _asked(one) if name not in lock)
    assert not missing, missing


def _asked(name: str) -> set[str]:
    """Return what an installed package asks for on this machine, nothing of one that is not here."""
    try:
        lines = distribution(name).requires or []
    except PackageNotFoundError:
        return set()
    found = (Requirement(line) for line in lines)
    return {
        canonicalize_name(one.name)
        for one in found
        if one.marker is None or one.marker.evaluate({"extra": ""})
    }
