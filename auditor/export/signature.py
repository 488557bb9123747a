"""Detached Ed25519 signatures in OpenSSH's own form (SSHSIG, see its PROTOCOL.sshsig), so that ssh-keygen reads them.

1. What is signed is `SSHSIG | namespace | reserved | hash name | SHA-512 of the message`, each part with its length.
2. The signature file holds the public key, the namespace and the signature, armoured in base64. Never the private key.

    ssh-keygen -Y check-novalidate -n model-auditor -s manifest.json.sig < manifest.json
    ssh-keygen -Y verify -f allowed_signers -I NAME -n model-auditor -s manifest.json.sig < manifest.json
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
import textwrap
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from auditor.errors import UserError

NAMESPACE = b"model-auditor"
MAGIC, KIND, HASH = b"SSHSIG", b"ssh-ed25519", b"sha512"
BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
MAX_BYTES = 16_384
"""Longest key or signature file that is read."""


class BadSignature(UserError):
    """A signature that is not one, or not of this message; says why."""


def private_key(key: str | Path | Ed25519PrivateKey, passphrase: str | None = None) -> Ed25519PrivateKey:
    """Read an OpenSSH private key file of kind Ed25519; raises UserError in one sentence."""
    if isinstance(key, Ed25519PrivateKey):
        return key
    try:
        with open(key, "rb") as file:
            found = serialization.load_ssh_private_key(file.read(MAX_BYTES), passphrase and passphrase.encode())
    except OSError:
        raise UserError("The key file cannot be read. Give the path of an OpenSSH private key.") from None
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise UserError("This key file cannot be used: it is no OpenSSH private key, or it has another passphrase. "
                        "`ssh-keygen -t ed25519` makes one; a bundle can also be signed afterwards by "
                        f"`ssh-keygen -Y sign -n {NAMESPACE.decode()} -f KEY manifest.json`.") from None
    if not isinstance(found, Ed25519PrivateKey):
        raise UserError("This key is not of kind Ed25519. `ssh-keygen -t ed25519` makes one.")
    return found


def sign(message: bytes, key: Ed25519PrivateKey) -> str:
    """The armoured signature of a message."""
    public = _packed(KIND, _raw(key.public_key()))
    signature = _packed(KIND, key.sign(_signed(message, HASH)))
    blob = MAGIC + struct.pack(">I", 1) + _packed(public, NAMESPACE, b"", HASH, signature)
    return "\n".join([BEGIN, *textwrap.wrap(base64.b64encode(blob).decode(), 70), END, ""])


def check(message: bytes, armoured: str) -> Ed25519PublicKey:
    """The key that signed this message; raises BadSignature with the reason."""
    lines = armoured.strip().splitlines()
    if len(armoured) > MAX_BYTES or len(lines) < 3 or (lines[0], lines[-1]) != (BEGIN, END):
        raise BadSignature("The signature file does not hold an SSH signature.")
    try:
        blob = base64.b64decode("".join(lines[1:-1]), validate=True)
        if blob[:6] != MAGIC or blob[6:10] != struct.pack(">I", 1):
            raise BadSignature("The signature file is of a form that is not known here.")
        public, namespace, _, hash_name, signature = _unpacked(blob[10:], 5)
        (kind, raw), (signed_kind, bits) = _unpacked(public, 2), _unpacked(signature, 2)
    except (binascii.Error, struct.error, ValueError):
        raise BadSignature("The signature file is damaged.") from None
    if namespace != NAMESPACE:
        raise BadSignature("The signature was made for another purpose than a bundle of this program.")
    if kind != KIND or signed_kind != KIND or hash_name not in (b"sha512", b"sha256") or len(raw) != 32:
        raise BadSignature("The signature is not of kind Ed25519; `ssh-keygen -Y verify` may know it.")
    key = Ed25519PublicKey.from_public_bytes(raw)
    try:
        key.verify(bits, _signed(message, hash_name))
    except InvalidSignature:
        raise BadSignature("The signature is not one of this manifest: either of them was altered.") from None
    return key


def public_key(path: str | Path) -> Ed25519PublicKey:
    """Read an OpenSSH public key file of kind Ed25519; raises UserError."""
    try:
        with open(path, "rb") as file:
            found = serialization.load_ssh_public_key(file.read(MAX_BYTES))
    except (OSError, ValueError, UnsupportedAlgorithm):
        raise UserError("The public key file cannot be read. Give an OpenSSH public key, such as id_ed25519.pub.") \
            from None
    if not isinstance(found, Ed25519PublicKey):
        raise UserError("This public key is not of kind Ed25519.")
    return found


def fingerprint(key: Ed25519PublicKey) -> str:
    """A public key's name, as `ssh-keygen -l` shows it."""
    digest = hashlib.sha256(_packed(KIND, _raw(key))).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _signed(message: bytes, hash_name: bytes) -> bytes:
    return MAGIC + _packed(NAMESPACE, b"", hash_name, hashlib.new(hash_name.decode(), message).digest())


def _packed(*parts: bytes) -> bytes:
    """SSH strings: each part behind its length in four bytes."""
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def _unpacked(data: bytes, count: int) -> list[bytes]:
    """The inverse of `_packed`; raises ValueError when the parts do not fill the data."""
    parts = []
    for _ in range(count):
        (length,) = struct.unpack_from(">I", data)
        part, data = data[4 : 4 + length], data[4 + length :]
        if len(part) != length:
            raise ValueError("cut short")
        parts.append(part)
    if data:
        raise ValueError("something follows")
    return parts
