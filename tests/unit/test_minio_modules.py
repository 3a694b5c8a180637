"""The role minio's modules: signatures as AWS documents them, payloads that MinIO can open, policies that bound."""

import hashlib
import importlib.util
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

ROLE = Path(__file__).resolve().parents[2] / "roles" / "minio"


def load(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


S3 = load("minio_s3", ROLE / "module_utils" / "minio_s3.py")
# Where Ansible puts a role's module_utils for the role's modules.
sys.modules.setdefault("ansible.module_utils.minio_s3", S3)
USER = load("minio_user", ROLE / "library" / "minio_user.py")


def opened(password: str, sealed: bytes) -> bytes:
    """As MinIO's server opens a payload of one chunk."""
    salt, algorithm, nonce, chunk = sealed[:32], sealed[32:33], sealed[33:41], sealed[41:]
    assert algorithm == b"\x02"
    cipher = AESGCM(hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 8192, 32))
    seal = cipher.encrypt(nonce + b"\x00\x00\x00\x00", b"", b"")
    return cipher.decrypt(nonce + b"\x01\x00\x00\x00", chunk, b"\x80" + seal)


# Deriving a key is slow on purpose.
@settings(deadline=None, max_examples=20)
@given(st.text(min_size=1, max_size=20), st.binary(max_size=200))
def test_a_payload_opens_with_the_password_that_sealed_it(password: str, data: bytes) -> None:
    assert opened(password, S3.encrypt(password, data)) == data


def test_a_payload_does_not_open_with_another_password() -> None:
    with pytest.raises(InvalidTag):
        opened("wrong", S3.encrypt("right", b"secret"))


def test_two_payloads_share_neither_salt_nor_nonce() -> None:
    first, second = S3.encrypt("p", b"x"), S3.encrypt("p", b"x")
    assert first[:32] != second[:32]
    assert first[33:41] != second[33:41]


def test_a_payload_that_needs_two_chunks_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit into one chunk"):
        S3.encrypt("p", b"x" * (16 * 1024 + 1))


def test_a_request_is_signed_as_in_amazons_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    """`GET Bucket Lifecycle` of "Signature Calculations for the Authorization Header"."""

    class Clock:
        @staticmethod
        def now(zone: object) -> datetime:
            return datetime(2013, 5, 24, tzinfo=UTC)

    monkeypatch.setattr(S3.datetime, "datetime", Clock)
    key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    client = S3.Client("https://examplebucket.s3.amazonaws.com", "us-east-1", "AKIAIOSFODNN7EXAMPLE", key)
    signed = client.sign("GET", "/", "lifecycle=", b"", {})["Authorization"]
    assert signed.endswith("Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543")


def test_a_policy_names_the_users_buckets_and_no_other() -> None:
    resources = {r for s in USER.policy(["b", "a"])["Statement"] for r in s["Resource"]}
    assert resources == {"arn:aws:s3:::a", "arn:aws:s3:::b", "arn:aws:s3:::a/*", "arn:aws:s3:::b/*"}


def test_a_policy_allows_no_change_to_a_bucket() -> None:
    actions = {action for s in USER.policy(["a"])["Statement"] for action in s["Action"]}
    assert not [a for a in actions if a.endswith(("*", "CreateBucket", "DeleteBucket", "PutBucketPolicy"))]


@given(st.permutations(["a", "b", "c"]))
def test_the_order_of_a_policy_does_not_matter(buckets: list[str]) -> None:
    document = USER.policy(buckets)
    turned = {"Statement": [dict(s, Action=s["Action"][::-1]) for s in document["Statement"][::-1]]}
    assert USER.normal(turned) == USER.normal(USER.policy(["a", "b", "c"]))
    assert USER.normal(turned) != USER.normal(USER.policy(["a", "b"]))
