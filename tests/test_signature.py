"""Signatures: made here and read by ssh-keygen, made by ssh-keygen and read here; every alteration is noticed."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auditor.errors import UserError
from auditor.export import signature

MESSAGE = b"what is signed \xff\n"


def keygen(*arguments: str, data: bytes = b"") -> subprocess.CompletedProcess:
    return subprocess.run(["ssh-keygen", *map(str, arguments)], input=data, capture_output=True, timeout=60)


@pytest.fixture
def key(tmp_path):
    if not shutil.which("ssh-keygen"):
        pytest.skip("ssh-keygen is not installed")
    assert keygen("-q", "-t", "ed25519", "-N", "", "-C", "", "-f", tmp_path / "key").returncode == 0
    return tmp_path / "key"


def test_round_trip_and_every_altered_byte():
    key = Ed25519PrivateKey.generate()
    armoured = signature.sign(MESSAGE, key)
    assert signature.fingerprint(signature.check(MESSAGE, armoured)) == signature.fingerprint(key.public_key())
    with pytest.raises(signature.BadSignature, match="altered"):
        signature.check(MESSAGE + b" ", armoured)
    for place in range(len(signature.BEGIN) + 1, len(armoured) - len(signature.END) - 6, 7):
        other = "A" if armoured[place] != "A" else "B"
        if armoured[place] != "\n":
            with pytest.raises(signature.BadSignature):
                signature.check(MESSAGE, armoured[:place] + other + armoured[place + 1 :])


def armour(text: str) -> str:
    return f"{signature.BEGIN}\n{text}\n{signature.END}"


@pytest.mark.parametrize("text", ["", "x", f"{signature.BEGIN}\n{signature.END}", "x" * 100_000, armour("!!!!"),
                                  armour("AAAA"), armour("U1NIU0lHAAAAAf////8=")])
def test_what_is_no_signature(text):
    with pytest.raises(signature.BadSignature) as caught:
        signature.check(MESSAGE, text)
    assert str(caught.value).endswith(".")


def test_ssh_keygen_reads_ours(key, tmp_path):
    armoured = signature.sign(MESSAGE, signature.private_key(key))
    (tmp_path / "sig").write_text(armoured)
    known = keygen("-Y", "check-novalidate", "-n", "model-auditor", "-s", tmp_path / "sig", data=MESSAGE)
    assert known.returncode == 0 and signature.fingerprint(signature.public_key(f"{key}.pub")).encode() in known.stdout
    (tmp_path / "allowed").write_text(f"auditor {(tmp_path / 'key.pub').read_text()}")
    arguments = ("-Y", "verify", "-f", tmp_path / "allowed", "-I", "auditor", "-n", "model-auditor",
                 "-s", tmp_path / "sig")
    assert keygen(*arguments, data=MESSAGE).returncode == 0
    assert keygen(*arguments, data=MESSAGE + b"!").returncode != 0, "the control: another message"


def test_we_read_ssh_keygens(key, tmp_path):
    (tmp_path / "m").write_bytes(MESSAGE)
    assert keygen("-Y", "sign", "-n", "model-auditor", "-f", key, tmp_path / "m").returncode == 0
    found = signature.check(MESSAGE, (tmp_path / "m.sig").read_text())
    assert signature.fingerprint(found) == signature.fingerprint(signature.public_key(f"{key}.pub"))
    (tmp_path / "m.sig").unlink()
    keygen("-Y", "sign", "-n", "something-else", "-f", key, tmp_path / "m")
    with pytest.raises(signature.BadSignature, match="another purpose"):
        signature.check(MESSAGE, (tmp_path / "m.sig").read_text())


def test_keys_that_cannot_be_used(key, tmp_path):
    keygen("-q", "-t", "ecdsa", "-N", "", "-f", tmp_path / "ecdsa")
    keygen("-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "locked")
    (tmp_path / "text").write_text("hello")
    for name in ("ecdsa", "locked", "text", "missing", "key.pub"):
        with pytest.raises(UserError) as caught:
            signature.private_key(tmp_path / name)
        assert str(caught.value).endswith(".") and str(tmp_path) not in str(caught.value)
    for name in ("ecdsa.pub", "text", "missing", "key"):
        with pytest.raises(UserError):
            signature.public_key(tmp_path / name)
