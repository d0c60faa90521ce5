"""The policy file says what the code holds, and every wrong word in it is named."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway import errors
from gateway.errors import GatewayError
from gateway.pki.policy import read_policy, shipped_policy
from gateway.pki.trust import DEFAULT_POLICY, Use
from gateway.share import folder


def test_the_file_that_is_shipped_says_what_the_code_holds():
    assert shipped_policy() == DEFAULT_POLICY


def test_what_is_not_said_stays():
    assert read_policy(b"", "empty.toml") == DEFAULT_POLICY


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
    assert policy.uses[Use.SIGNING].key_usage == {"nonRepudiation"}
    assert policy.uses[Use.SIGNING].required == {"key_usage"}
    assert policy.uses[Use.SIGNING].accept_indeterminate
    assert not any(rule.accept_indeterminate for rule in DEFAULT_POLICY.uses.values())
    assert policy.uses[Use.TLS] == DEFAULT_POLICY.uses[Use.TLS]


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
    for path in folder("pki").iterdir():
        if path.is_file():
            assert b"PRIVATE KEY" not in path.read_bytes()
    assert [each.name for each in folder("pki").joinpath("anchors").iterdir()] == ["README.md"]
