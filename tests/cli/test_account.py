"""``gateway account``: people who sign in to the console; the first one is made by a verb."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from gateway.cli import main
from tests.kit.databases import Templates
from tests.kit.long_texts import make_long_text, make_text_of_octets

PASSWORD = "correct horse battery"
KPTA = ("--organisation", "agency/KPTA")


class Verbs:
    """Runs ``gateway account …`` on one home, with a line of standard input."""

    def __init__(
        self, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.home, self.capsys, self.monkeypatch = home, capsys, monkeypatch

    def run(self, *words: str, typed: str = PASSWORD) -> tuple[int, str, str]:
        self.monkeypatch.setattr("sys.stdin", io.StringIO(f"{typed}\n"))
        status = main(["account", *words, "--home", str(self.home)])
        told = self.capsys.readouterr()
        return status, told.out, told.err


@pytest.fixture
def verbs(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    templates: Templates,
) -> Verbs:
    templates.fill_home(tmp_path)
    return Verbs(tmp_path, capsys, monkeypatch)


@pytest.mark.long
def test_a_person_is_added_shown_and_suspended(verbs: Verbs) -> None:
    status, out, _ = verbs.run("add", "Kim", *KPTA, "--role", "officer", "--display-name", "김지훈")
    assert status == 0
    assert "Account Kim: 김지훈 may sign in, with agency/KPTA:officer." in out
    assert verbs.run("role", "kim", *KPTA, "--role", "approver")[0] == 0
    shown = json.loads(verbs.run("show", "KIM")[1])
    assert (shown["roles"], shown["status"], shown["sessions"]) == ("agency/KPTA:approver", "ACTIVE", [])
    assert verbs.run("suspend", "kim")[1].startswith("Account kim is suspended")
    (listed,) = verbs.run("list", *KPTA, "--json")[1].splitlines()
    assert json.loads(listed)["status"] == "SUSPENDED"
    assert verbs.run("list", "--organisation", "agency/KFDA", "--json")[1] == ""


@pytest.mark.parametrize(
    ("words", "typed", "sentence"),
    [
        (("add", "kim", *KPTA, "--role", "officer"), "too short", "at least 15 characters"),
        (("add", "kim", *KPTA, "--role", "king"), PASSWORD, "the role king does not exist"),
        (("add", "kim", *KPTA, "--role", "filer"), PASSWORD, "belongs to another kind of organisation"),
        (("add", "kim", "--organisation", "KPTA", "--role", "officer"), PASSWORD, "not KIND/CODE"),
        (("add", "kim", *KPTA), PASSWORD, "--role"),
        (("add", "kim\nAccount lee", *KPTA, "--role", "officer"), PASSWORD, "a name is one line"),
        (
            ("add", "kim", *KPTA, "--role", "officer", "--display-name", "Kim\nAccount lee"),
            PASSWORD,
            "a name is one line",
        ),
    ],
)
def test_misuse_is_refused_and_adds_nobody(
    verbs: Verbs, words: tuple[str, ...], typed: str, sentence: str
) -> None:
    status, _, err = verbs.run(*words, typed=typed)
    assert status == 2
    assert sentence in err
    assert typed not in err
    assert verbs.run("list", "--json")[1] == ""


@pytest.mark.long
def test_a_role_in_a_party_that_is_not_registered_is_refused(verbs: Verbs) -> None:
    """Whoever registers a party of that name later would have people of nobody."""
    party = ("--organisation", "party/nobody", "--role", "filer")
    sentence = "GW808 there is no party nobody in the register: register it first"
    status, out, err = verbs.run("add", "kim", *party)
    assert (status, out, sentence in err) == (2, "", True)
    assert verbs.run("list", "--json")[1] == ""
    assert verbs.run("add", "kim", *KPTA, "--role", "officer")[0] == 0
    assert sentence in verbs.run("role", "kim", *party)[2]
    assert verbs.run("role", "kim", *party[:2])[0] == 0, "no role is taken away from there"
    assert main(["party", "add", "nobody", "--home", str(verbs.home)]) == 0
    verbs.capsys.readouterr()
    assert verbs.run("role", "kim", *party)[0] == 0


@pytest.mark.long
def test_a_name_is_given_once_and_must_exist(verbs: Verbs) -> None:
    assert verbs.run("add", "kim", *KPTA, "--role", "officer")[0] == 0
    assert verbs.run("add", "KIM", *KPTA, "--role", "officer")[0] == 1
    for verb in ("show", "suspend", "resume", "password"):
        status, _, err = verbs.run(verb, "lee")
        assert (status, "there is no account lee" in err) == (1, True)


@pytest.mark.long
def test_a_certificate_is_set_once_and_taken_away(verbs: Verbs, tmp_path: Path) -> None:
    pki = tmp_path / "pki"
    assert main(["pki", "demo", "--out", str(pki), "--party", "kim", "--party", "lee"]) == 0
    settings = f'[pki]\nanchors = ["{pki / "ca.pem"}"]\ncrls = ["{pki / "crl.pem"}"]\n'
    (tmp_path / "gateway.toml").write_text(settings)
    certificate = str(pki / "kim.cert.pem")
    for name in ("kim", "lee"):
        assert verbs.run("add", name, *KPTA, "--role", "officer")[0] == 0
    status, out, err = verbs.run("certificate", "kim", certificate)
    assert (status, "Account kim signs in with certificate" in out) == (0, True), err
    status, _, err = verbs.run("certificate", "lee", certificate)
    assert (status, "the certificate belongs to another account" in err) == (1, True)
    assert verbs.run("certificate", "nobody", certificate)[0] == 1
    assert verbs.run("certificate", "kim")[0] == 2
    assert verbs.run("certificate", "kim", certificate, "--remove")[0] == 2
    assert "has no certificate now" in verbs.run("certificate", "kim", "--remove")[1]
    assert verbs.run("certificate", "lee", certificate)[0] == 0
    stranger = tmp_path / "stranger"
    assert main(["pki", "demo", "--out", str(stranger), "--party", "kim"]) == 0
    status, _, err = verbs.run("certificate", "lee", str(stranger / "kim.cert.pem"))
    assert (status, "GW20" in err) == (1, True)


@pytest.mark.long
def test_a_subject_is_bound_once_and_taken_away(verbs: Verbs) -> None:
    for name in ("kim", "lee"):
        assert verbs.run("add", name, *KPTA, "--role", "officer")[0] == 0
    issuer = ("--issuer", "https://id.example")
    status, out, _ = verbs.run("oidc", "kim", "--subject", "17", *issuer)
    assert (status, "Account kim signs in as 17 of https://id.example too." in out) == (0, True)
    status, _, err = verbs.run("oidc", "lee", "--subject", "17", *issuer)
    assert (status, "the subject belongs to another account" in err) == (1, True)
    for words in ((), ("--subject", "17"), ("--subject", "17", "--remove")):
        assert verbs.run("oidc", "lee", *words)[0] == 2
    assert "has no OpenID subject now" in verbs.run("oidc", "kim", "--remove")[1]
    assert verbs.run("oidc", "lee", "--subject", "17", *issuer)[0] == 0


def test_a_name_is_found_by_its_whole_length(verbs: Verbs) -> None:
    name = make_long_text(200)
    assert verbs.run("add", name, *KPTA, "--role", "officer")[0] == 0
    assert json.loads(verbs.run("show", name)[1])["name"] == name
    status, _, err = verbs.run("add", name + "x", *KPTA, "--role", "officer")
    assert (status, "a name is one line of 1 to 200 characters" in err) == (2, True)
    status, _, err = verbs.run("show", make_long_text(5_000))
    assert (status, "there is no account" in err) == (1, True)


def test_an_organisation_a_subject_and_an_issuer_have_their_longest_lengths(verbs: Verbs) -> None:
    code, subject = make_text_of_octets(800), make_text_of_octets(512)
    issuer = "https://id.example/" + make_text_of_octets(1024 - 19)
    roles = ("--role", "officer")
    assert verbs.run("add", "kim", "--organisation", f"agency/{code}", *roles)[0] == 0
    status, _, err = verbs.run("add", "lee", "--organisation", f"agency/{code}x", *roles)
    assert (status, "the code of an organisation has at most 800 octets" in err) == (2, True)
    for words in (
        ("--subject", subject + "x", "--issuer", issuer),
        ("--subject", "a\nb", "--issuer", issuer),
    ):
        status, _, err = verbs.run("oidc", "kim", *words)
        assert (status, "at most 512 octets in UTF-8" in err) == (2, True)
    status, _, err = verbs.run("oidc", "kim", "--subject", subject, "--issuer", issuer + "x")
    assert (status, "the address of a provider has at most 1,024 octets" in err) == (2, True)
    assert verbs.run("oidc", "kim", "--subject", subject, "--issuer", issuer)[0] == 0
