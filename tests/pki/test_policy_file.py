"""The policy file says what the code holds, and every wrong word in it is named."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace
from datetime import timedelta

import pytest
from cryptography import x509

from gateway import errors
from gateway.errors import GatewayError
from gateway.pki import (
    DEFAULT_POLICY,
    DEFAULT_RULES,
    Certificate,
    CertificateUse,
    PolicyInputs,
    RevocationData,
    TrustPolicy,
    TrustStore,
    load_shipped_policy,
    make_private_key,
    read_certificate,
    read_policy,
    validate_path,
)
from gateway.pki.certificate_lint import lint_leaf
from gateway.pki.policy_file import write_policy
from gateway.share import get_data_folder
from gateway_conformance.pki import make_revocation_list
from tests.pki.certificate_forgery import DAY, NOW, Forgery, usage
from tests.pki.conftest import World


def test_the_file_that_is_shipped_says_what_the_code_holds():
    assert load_shipped_policy() == DEFAULT_POLICY


def test_what_is_not_said_stays():
    assert read_policy(b"", "empty.toml") == DEFAULT_POLICY


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_list_may_be_a_leap_year_old(mark: bytes):
    policy = read_policy(mark + b"[revocation]\ncrl_age_most_hours = 8784", "own.toml")
    assert policy.crl_age_most == timedelta(days=366)


def test_what_is_said_holds():
    text = """
    [revocation]
    rule = "if_present"
    crl_age_most_hours = 48
    [path]
    path_most = 4
    leaf_may_be_ca = true
    [certificates]
    rsa_bits = 3072
    curves = ["secp256r1"]
    positive_serial = false
    [use.signing]
    key_usage = ["nonRepudiation"]
    accept_indeterminate = true
    """
    policy = read_policy(text.encode(), "own.toml")
    assert policy.revocation == "if_present"
    assert policy.crl_age_most == timedelta(hours=48)
    assert (policy.path_most, policy.candidates_most, policy.leaf_may_be_ca) == (4, 16, True)
    assert policy.certificates.rsa_bits == 3072
    assert policy.certificates.curves == {"secp256r1"}
    assert not policy.certificates.positive_serial
    assert policy.certificates.key_types == DEFAULT_POLICY.certificates.key_types
    assert policy.uses[CertificateUse.SIGNING].key_usage == {"nonRepudiation"}
    assert policy.uses[CertificateUse.SIGNING].required == {"key_usage"}
    assert policy.uses[CertificateUse.SIGNING].accept_indeterminate
    assert not any(rule.accept_indeterminate for rule in DEFAULT_POLICY.uses.values())
    assert policy.uses[CertificateUse.TLS] == DEFAULT_POLICY.uses[CertificateUse.TLS]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[", "TOML"),
        ("\udcff", "TOML"),
        ("revocation = 1", "revocation"),
        ("[revokation]", "revokation"),
        ('[revocation]\nrule = "never"', "rule"),
        ('[revocation]\nrule = "none"', "rule"),
        ("[certificates]\nprofile = false", "profile"),
        ("[path]\npolicies = 1", "policies"),
        ("[use.signing]\naccept_indeterminate = 1", "accept_indeterminate"),
        ("[revocation]\nrules = 1", "rules"),
        ("[revocation]\ncrl_age_most_hours = true", "crl_age_most_hours"),
        ("[revocation]\ncrl_age_most_hours = 0", "crl_age_most_hours"),
        ("[revocation]\ncrl_age_most_hours = 8785", "crl_age_most_hours"),
        ('[revocation]\ncrl_age_most_hours = "1"', "crl_age_most_hours"),
        ("[path]\nrevocation = 1", "revocation"),
        ("[path]\npath_most = -1", "path_most"),
        ("[path]\npath_most = 100000", "path_most"),
        ("[path]\nleaf_may_be_ca = 1", "leaf_may_be_ca"),
        ("[path]\npath_most = true", "path_most"),
        ("[certificates]\ncurve = []", "curve"),
        ('[certificates]\ncurves = "secp256r1"', "curves"),
        ("[certificates]\ncurves = [1]", "curves"),
        ("[certificates]\nrsa_bits = 2048.0", "rsa_bits"),
        ("[use.singing]", "singing"),
        ("[use]\nsigning = 1", "signing"),
        ('[use.signing]\nkey_usage = "digitalSignature"', "key_usage"),
        ("#" * 70000, "large"),
    ],
)
def test_a_wrong_word_is_named(text: str, word: str):
    with pytest.raises(GatewayError) as caught:
        read_policy(text.encode("utf-8", "surrogateescape"), "own.toml")
    assert caught.value.problem is errors.SETTINGS_WRONG
    assert word in f"{caught.value.detail} {caught.value.location}"
    assert "own.toml" in caught.value.location


def test_no_private_key_is_shipped():
    for path in get_data_folder("pki").iterdir():
        if path.is_file():
            assert b"PRIVATE KEY" not in path.read_bytes()
    assert [each.name for each in get_data_folder("pki").joinpath("anchors").iterdir()] == ["README.md"]


def test_what_is_written_is_read_as_it_was():
    uses = {
        **DEFAULT_POLICY.uses,
        CertificateUse.TLS: replace(DEFAULT_POLICY.uses[CertificateUse.TLS], accept_indeterminate=True),
    }
    own = TrustPolicy(
        revocation="if_present",
        crl_age_most=timedelta(hours=36),
        certificates=replace(
            DEFAULT_RULES, rsa_bits=3072, curves=frozenset({"secp256r1"}), positive_serial=False
        ),
        uses=uses,
        leaf_may_be_ca=True,
        path_most=5,
        candidates_most=7,
        policies=PolicyInputs(frozenset({"1.2.3"}), explicit=True, inhibit_mapping=True, inhibit_any=True),
    )
    for policy in (own, DEFAULT_POLICY, TrustPolicy()):
        assert read_policy(write_policy(policy), "written.toml") == policy
    # Every rule that there is makes a difference: none is left out of what is written.
    for each in fields(TrustPolicy):
        assert getattr(own, each.name) != getattr(DEFAULT_POLICY, each.name), each.name


def test_every_use_says_what_not_knowing_means():
    text = tomllib.loads(get_data_folder("pki").joinpath("policy.toml").read_text("utf-8"))
    assert set(text["use"]) == {use.value for use in CertificateUse}
    assert {rule["accept_indeterminate"] for rule in text["use"].values()} == {False}


def leaf_for(use: CertificateUse, world: World) -> Certificate:
    rule = DEFAULT_POLICY.uses[use]
    purposes = x509.ExtendedKeyUsage(x509.ObjectIdentifier(each) for each in rule.extended_key_usage)
    keys = usage(*("digital_signature", "content_commitment", "key_encipherment"))
    forged = Forgery(extra=[(keys, True), (purposes, True)])
    return read_certificate(forged.der(world.sub))


@pytest.mark.parametrize("use", CertificateUse, ids=lambda use: use.value)
@pytest.mark.parametrize("known", ["nothing", "too old"])
def test_not_knowing_means_for_each_use_what_policy_says(world: World, use: CertificateUse, known: str):
    late = NOW + 8 * DAY
    lists = RevocationData(
        () if known == "nothing" else [make_revocation_list(one, [], NOW) for one in (world.root, world.sub)]
    )
    leaf = leaf_for(use, world)
    text = f"[use.{use.value}]\naccept_indeterminate = true\n"
    rule = DEFAULT_POLICY.uses[use]
    text += f"key_usage = {sorted(rule.key_usage)}\nextended_key_usage = {sorted(rule.extended_key_usage)}\n"
    text += f"required = {sorted(rule.required)}\nalone = {str(rule.alone).lower()}\n"
    lax = read_policy(text.encode(), "own.toml")
    for asked in CertificateUse:
        if leaf_fits(leaf, asked):
            verdict = validate_path(leaf, late, asked, replace(world.trust, policy=lax), lists)
            assert (verdict.status, verdict.problem) == ("indeterminate", errors.REVOCATION_UNKNOWN)
            assert verdict.tolerated == verdict.is_accepted == (asked is use)
    assert leaf_fits(leaf, use)
    strict = validate_path(leaf, late, use, world.trust, lists)
    assert not strict.is_accepted
    with pytest.raises(GatewayError, match="GW208"):
        strict.raise_unless_accepted()


def leaf_fits(leaf: Certificate, use: CertificateUse) -> bool:
    return lint_leaf(leaf, DEFAULT_RULES, DEFAULT_POLICY.uses[use], may_be_ca=False) is None


def test_what_is_known_to_be_bad_is_tolerated_for_no_use(world: World):
    uses = {use: replace(rule, accept_indeterminate=True) for use, rule in DEFAULT_POLICY.uses.items()}
    lax = replace(world.trust, policy=replace(DEFAULT_POLICY, uses=uses))
    for use in CertificateUse:
        leaf = leaf_for(use, world)
        lists = RevocationData(
            [make_revocation_list(world.root, [], NOW), make_revocation_list(world.sub, [leaf.serial], NOW)]
        )
        for at, problem in ((NOW, errors.CERTIFICATE_REVOKED), (NOW + 900 * DAY, errors.CERTIFICATE_EXPIRED)):
            verdict = validate_path(leaf, at, use, lax, lists)
            assert (verdict.problem, verdict.tolerated, verdict.is_accepted) == (problem, False, False)


def lax_everywhere(world: World) -> TrustStore:
    uses = {use: replace(rule, accept_indeterminate=True) for use, rule in DEFAULT_POLICY.uses.items()}
    return replace(world.trust, policy=replace(DEFAULT_POLICY, uses=uses))


def test_one_that_was_revoked_is_not_tolerated_for_what_is_not_known_of_another(world: World):
    """The list of the root is missing, so nothing is known of the authority; its own list is in hand."""
    octets, lists = world.outcast.certificate, RevocationData([world.sub_crl])
    verdict = validate_path(octets, NOW, CertificateUse.SIGNING, lax_everywhere(world), lists)
    assert (verdict.status, verdict.problem) == ("invalid", errors.CERTIFICATE_REVOKED)
    assert verdict.evidence == (lists.lists[0].sha256,)
    party = validate_path(world.party.certificate, NOW, CertificateUse.SIGNING, lax_everywhere(world), lists)
    assert (party.status, party.tolerated) == ("indeterminate", True)


def test_a_revocation_is_not_forgotten_when_its_list_is_too_old(world: World):
    lists = [world.root_crl, world.sub_crl]
    late = NOW + 30 * DAY
    for found in (lists, [make_revocation_list(world.root, [], late), world.sub_crl]):
        verdict = validate_path(
            world.outcast.certificate,
            late,
            CertificateUse.SIGNING,
            lax_everywhere(world),
            RevocationData(found),
        )
        assert (verdict.status, verdict.problem) == ("invalid", errors.CERTIFICATE_REVOKED)
    # Not by a list that somebody else made, nor by one to come, nor against one that is fresh.
    forged = make_revocation_list(
        replace(world.sub, key=make_private_key()), [world.party.certificate.serial], NOW
    )
    early = validate_path(
        world.outcast.certificate,
        NOW - DAY,
        CertificateUse.SIGNING,
        lax_everywhere(world),
        RevocationData(lists),
    )
    assert early.problem is not errors.CERTIFICATE_REVOKED
    verdict = validate_path(
        world.party.certificate,
        late,
        CertificateUse.SIGNING,
        lax_everywhere(world),
        RevocationData([world.root_crl, forged]),
    )
    assert (verdict.status, verdict.tolerated) == ("indeterminate", True)
    taken_back = [
        make_revocation_list(world.root, [], late),
        make_revocation_list(world.sub, [], late, number=2),
        world.sub_crl,
    ]
    again = validate_path(
        world.outcast.certificate, late, CertificateUse.SIGNING, world.trust, RevocationData(taken_back)
    )
    assert again.status == "valid"
