"""Secure key release: a Relying Party that gives a secret to one enclave, and to nobody between.

::

    Relying Party                     host                    enclave
      challenge()   -- nonce -------------------------------->  makes a key pair
                    <- evidence over nonce and public key ----  attest(nonce)
      release(): appraise; is the nonce mine and fresh?
                    -- the secret, for that key alone ------->  receive(message)

The host carries all of it. A nonce that was used stops yesterday's evidence; a key that is part of
the evidence stops the man in the middle who offers his own.

Simplified: the enclave does not ask who sends. The host can encrypt a secret of its own to the
enclave's public key, or deliver an earlier message again; where that matters, the Relying Party has
to sign, with a key that is part of the enclave's measurement. A challenge stays open until used.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tee_sim.attest.certificates import derive_key, public_bytes
from tee_sim.attest.chains import raw_key
from tee_sim.attest.results import AttestationResult
from tee_sim.errors import NonceMismatch

NONCE_SIZE = 32
KEY_SIZE = 64
"""Bytes of a public key, x || y, at the end of the custom claims."""
TAG_SIZE = 16
PURPOSE = b"tee_sim secret release"

Appraise = Callable[[bytes], AttestationResult]


class RelyingParty:
    """Somebody with a secret, and an opinion on who may have it.

    Args:
        appraise: what is to be thought of a piece of evidence: a Verifier and an appraisal policy,
            as in ``lambda evidence: appraise(verify_evidence(evidence, ...), policy)``.
        seed: what nonces and keys follow from; None draws them. With one seed and two secrets for
            one enclave the same key stream would serve twice: a seed is for lessons only.
    """

    def __init__(self, appraise: Appraise, seed: int | None = None) -> None:
        self._appraise = appraise
        self._secret = secrets.token_bytes(32) if seed is None else f"relying {seed}".encode()
        self._count = 0
        self._open: set[bytes] = set()

    def challenge(self) -> bytes:
        """A nonce that evidence has to contain, 32 bytes; it serves once."""
        self._count += 1
        nonce = hashlib.sha256(b"%s|nonce %d" % (self._secret, self._count)).digest()
        self._open.add(nonce)
        return nonce

    def release(self, evidence: bytes, secret: bytes) -> bytes:
        """The secret, encrypted to the key that the evidence binds.

        Returns:
            The sender's public key, 64 bytes; the tag, 16 bytes; the ciphertext.

        Raises:
            AttestationError: the evidence does not convince.
            NonceMismatch: it does not answer a challenge of this Relying Party, or not for the
                first time.
            LayoutError: the bytes are no evidence, or what it binds is no public key.
        """
        result = self._appraise(evidence).require()
        claims: bytes = result.claims.get("custom_claims_buffer", b"")
        nonce, recipient = claims[:-KEY_SIZE], claims[-KEY_SIZE:]
        if nonce not in self._open:
            raise NonceMismatch("the evidence answers no open challenge", check="EVIDENCE.NONCE")
        self._open.remove(nonce)
        self._count += 1
        return encrypt(secret, recipient, derive_key(self._secret, f"key {self._count}"))


def encrypt(secret: bytes, recipient: bytes, sender: ec.EllipticCurvePrivateKey) -> bytes:
    """A message that the owner of one key can open: ECDH on P-256, HKDF-SHA256, AES-128-GCM.

    Args:
        secret: any bytes.
        recipient: public key, x || y, 64 bytes.
        sender: a key for this one message.

    Raises:
        LayoutError: the recipient's key is none.
    """
    head = public_bytes(sender.public_key())
    shared = sender.exchange(ec.ECDH(), raw_key(recipient))
    key = HKDF(SHA256(), 16, salt=None, info=PURPOSE + head + recipient).derive(shared)
    sealed = AESGCM(key).encrypt(bytes(12), secret, None)
    return head + sealed[-TAG_SIZE:] + sealed[:-TAG_SIZE]
