"""Secure key release: a Relying Party that gives a secret to one enclave, and to nobody between.

::

    Relying Party                     host                    enclave
      challenge()   -- nonce -------------------------------->  makes a key pair
                    <- evidence over nonce and public key ----  attest(nonce)
      release(): appraise; is the nonce mine and fresh?
                    -- the secret, for that key alone ------->  receive(message)

The host carries all of it. A nonce that was used stops yesterday's evidence; a key that is part of
the evidence stops the man in the middle who offers his own.

Where there is a connection already, its key has to be the one in the evidence: otherwise the
evidence is genuine, and somebody else sits at the other end.

Simplified: the enclave does not ask who sends. The host can encrypt a secret of its own to the
enclave's public key, or deliver an earlier message again; where that matters, the Relying Party has
to sign, with a key that is part of the enclave's measurement. A challenge stays open until used.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection
from dataclasses import replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tee_sim.attest.certificates import derive_key, public_bytes
from tee_sim.attest.chains import raw_key
from tee_sim.attest.ledger import Ledger
from tee_sim.attest.results import AttestationResult
from tee_sim.errors import BadSignature

NONCE_SIZE = 32
KEY_SIZE = 64
"""Bytes of a public key, x || y, at the end of the custom claims."""
TAG_SIZE = 16
PURPOSE = b"tee_sim secret release"
IV = bytes(12)
"""Each key serves once."""

Appraise = Callable[[bytes], AttestationResult]


class RelyingParty:
    """Somebody with a secret, and an opinion on who may have it.

    Args:
        appraise: what is to be thought of a piece of evidence: a Verifier and an appraisal policy,
            as in ``lambda evidence: appraise(verify_evidence(evidence, ...), policy)``.
        seed: what nonces and keys follow from; None draws them. With one seed and two secrets for
            one enclave the same key stream would serve twice: a seed is for lessons only.
        omits: names of checks, of whatever kind, that this one forgets; for lessons only, too.
    """

    def __init__(
        self, appraise: Appraise, seed: int | None = None, omits: Collection[str] = ()
    ) -> None:
        self._appraise = appraise
        self._omits = {omits} if isinstance(omits, str) else set(omits)
        self._secret = secrets.token_bytes(32) if seed is None else f"relying {seed}".encode()
        self._count = 0
        self._open: set[bytes] = set()

    def challenge(self) -> bytes:
        """A nonce that evidence has to contain, 32 bytes; it serves once."""
        self._count += 1
        nonce = hashlib.sha256(b"%s|nonce %d" % (self._secret, self._count)).digest()
        self._open.add(nonce)
        return nonce

    def judge(self, evidence: bytes, channel: bytes | None = None) -> AttestationResult:
        """What this Relying Party makes of a piece of evidence: all checks, none left out.

        Arguments as of `release`.

        Raises:
            LayoutError: the bytes are no evidence.
        """
        result, ledger = self._appraise(evidence), Ledger()
        nonce, key = _claims(result)
        ledger.note("EVIDENCE.NONCE", nonce in self._open, "an open challenge", nonce or "none")
        if channel is not None:
            ledger.same("EVIDENCE.CHANNEL", lambda: channel, lambda: key)
        made = (*result.checks, *ledger.checks)
        return replace(result, checks=tuple(c for c in made if c.name not in self._omits))

    def release(self, evidence: bytes, secret: bytes, channel: bytes | None = None) -> bytes:
        """The secret, encrypted to the key that the evidence binds.

        Args:
            evidence: what somebody sent.
            secret: any bytes.
            channel: the public key at the other end of the connection, 64 bytes, to which the
                secret is encrypted then; None: there is none, and the evidence names the key.

        Returns:
            The sender's public key, 64 bytes; the tag, 16 bytes; the ciphertext.

        Raises:
            AttestationError: the evidence does not convince.
            NonceMismatch: it does not answer a challenge of this Relying Party, or not for the
                first time; or its key is not the one of the connection.
            LayoutError: the bytes are no evidence, or what it binds is no public key.
        """
        nonce, key = _claims(self.judge(evidence, channel).require())
        self._open.discard(nonce)
        self._count += 1
        sender = derive_key(self._secret, f"key {self._count}")
        return encrypt(secret, key if channel is None else channel, sender)


def _claims(result: AttestationResult) -> tuple[bytes, bytes]:
    """The nonce and the public key in a piece of evidence."""
    claims: bytes = result.claims.get("custom_claims_buffer", b"")
    return claims[:-KEY_SIZE], claims[-KEY_SIZE:]


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
    sealed = _cipher(sender, recipient, head + recipient).encrypt(IV, secret, None)
    return head + sealed[-TAG_SIZE:] + sealed[:-TAG_SIZE]


def decrypt(message: bytes, recipient: ec.EllipticCurvePrivateKey) -> bytes:
    """What `encrypt` encrypted, for the owner of the recipient's key.

    Raises:
        BadSignature: the message is for another key, or was changed.
        LayoutError: the sender's key is none.
    """
    head, end = message[:KEY_SIZE], KEY_SIZE + TAG_SIZE
    cipher = _cipher(recipient, head, head + public_bytes(recipient.public_key()))
    try:
        return cipher.decrypt(IV, message[end:] + message[KEY_SIZE:end], None)
    except InvalidTag:
        raise BadSignature("the message is for another key, or was changed") from None


def _cipher(own: ec.EllipticCurvePrivateKey, other: bytes, both: bytes) -> AESGCM:
    """What two keys agree on; ``both``: the sender's public key, then the recipient's."""
    shared = own.exchange(ec.ECDH(), raw_key(other))
    return AESGCM(HKDF(SHA256(), 16, salt=None, info=PURPOSE + both).derive(shared))
