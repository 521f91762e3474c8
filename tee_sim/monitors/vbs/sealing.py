"""Who an enclave is, and data that only the right enclaves on this machine can open again.

Source: Microsoft Learn, "EnclaveSealData", "EnclaveUnsealData", "ENCLAVE_SEALING_IDENTITY_POLICY".

Simplified: the layout of a blob is ours, and its cipher too (AES-256-GCM under a key derived with
HMAC-SHA256); Windows documents neither. That the owner has to be the same is unverified.
"""

from __future__ import annotations

import hmac
from enum import IntEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tee_sim.abi.layout import Struct, at
from tee_sim.abi.vbs import ENCLAVE_TYPE_VBS, EnclaveFlags, EnclaveIdentity
from tee_sim.errors import LayoutError
from tee_sim.monitors.vbs import checks as rules
from tee_sim.monitors.vbs.enclave import Enclave
from tee_sim.monitors.vbs.secure_kernel import SecureKernel, error

SE_SIGNING_LEVEL_AUTHENTICODE = 4
ALLOW_FULL_DEBUG = 1
"""ENCLAVE_RUNTIME_POLICY_ALLOW_FULL_DEBUG: a debugged enclave may open it, too."""


class Policy(IntEnum):
    """ENCLAVE_SEALING_IDENTITY_POLICY: who may open it."""

    EXACT_CODE = 1
    SAME_PRIMARY_CODE = 2
    SAME_IMAGE = 3
    SAME_FAMILY = 4
    SAME_AUTHOR = 5


SAME = {
    Policy.EXACT_CODE: ("unique_id",),
    Policy.SAME_PRIMARY_CODE: ("unique_id",),
    Policy.SAME_IMAGE: ("author_id", "family_id", "image_id"),
    Policy.SAME_FAMILY: ("author_id", "family_id"),
    Policy.SAME_AUTHOR: ("author_id",),
}
"""The parts of the identity that have to be the same."""

VERSIONS = ("enclave_svn", "secure_kernel_svn")
"""Those that may not be lower than when the data was sealed."""


# fmt: off
class BlobHead(Struct, size=192, source="ours: Windows does not document it"):
    """What stands before the ciphertext; all of it is authenticated."""

    sealing_identity: EnclaveIdentity = at(0,   152, "who sealed it")
    policy:           int             = at(152, 4,   "who may open it")
    runtime_policy:   int             = at(156, 4,   "whether a debugged enclave may")
    key_id:           bytes           = at(160, 32,  "random: no two blobs have the same key")
# fmt: on


TAG = 16
OVERHEAD = BlobHead.SIZE + TAG
"""Bytes that a blob has more than its plaintext."""


def identity(sk: SecureKernel, enclave: Enclave) -> EnclaveIdentity:
    """Who an enclave is: what its author signed, its owner, and what it runs on."""
    signature = enclave.signature
    return EnclaveIdentity(
        owner_id=enclave.create.owner_id,
        unique_id=signature.unique_id,
        author_id=signature.author_id,
        family_id=signature.config.family_id,
        image_id=signature.config.image_id,
        enclave_svn=signature.config.security_version,
        secure_kernel_svn=sk.svn,
        platform_svn=sk.platform_svn,
        flags=EnclaveFlags(full_debug_enabled=enclave.debug),
        signing_level=SE_SIGNING_LEVEL_AUTHENTICODE,
        enclave_type=ENCLAVE_TYPE_VBS,
    )


def seal(
    sk: SecureKernel, enclave: Enclave, policy: int, runtime_policy: int, data: bytes
) -> bytes:
    """EnclaveSealData.

    Raises:
        VBSError: no such policy.
    """
    if policy not in SAME or runtime_policy & ~ALLOW_FULL_DEBUG:
        raise error("EnclaveSealData", "ERROR_INVALID_PARAMETER", "no such policy")
    head = BlobHead(
        sealing_identity=identity(sk, enclave),
        policy=policy,
        runtime_policy=runtime_policy,
        key_id=sk.entropy.take(32, "sealing"),
    ).pack()
    return head + AESGCM(_key(sk, head)).encrypt(bytes(12), data, head)


def unseal(sk: SecureKernel, enclave: Enclave, blob: bytes) -> bytes:
    """EnclaveUnsealData.

    # Checks
    It was sealed on this machine, and not changed since (SK.SEAL_SECRET).
    The enclave is one that the policy names (SK.SEAL_IDENTITY), of the same owner (SK.SEAL_OWNER),
    not older (SK.SEAL_SVN), and debugged only if that was allowed (SK.SEAL_DEBUG).

    Raises:
        VBSError: refused, or the blob was changed, or sealed on another machine.
    """
    call, denied = "EnclaveUnsealData", "ERROR_ACCESS_DENIED"
    try:
        head, rest = BlobHead.take(blob)
        policy = Policy(head.policy)
        packed = blob[: BlobHead.SIZE]
        data = AESGCM(_key(sk, packed)).decrypt(bytes(12), rest, packed)
    except (LayoutError, ValueError):
        raise error(call, "ERROR_DECRYPTION_FAILED", "that is no blob") from None
    except InvalidTag:
        why = "it was changed, or sealed elsewhere"
        sk.refuse(rules.SEAL_SECRET, call, "ERROR_DECRYPTION_FAILED", why)
    mine, theirs = identity(sk, enclave), head.sealing_identity
    other = any(getattr(mine, name) != getattr(theirs, name) for name in SAME[policy])
    older = any(getattr(mine, name) < getattr(theirs, name) for name in VERSIONS)
    spied = enclave.debug and not (
        theirs.flags.full_debug_enabled or head.runtime_policy & ALLOW_FULL_DEBUG
    )
    broken = (
        (rules.SEAL_IDENTITY, denied, other),
        (rules.SEAL_OWNER, denied, mine.owner_id != theirs.owner_id),
        (rules.SEAL_SVN, "ERROR_REVISION_MISMATCH", older),
        (rules.SEAL_DEBUG, denied, spied),
    )
    for check, code, wrong in broken:
        if wrong and sk.checks.on(check):
            sk.refuse(check, call, code, check.title.lower())
    return data


def _key(sk: SecureKernel, head: bytes) -> bytes:
    """The key of one blob: from the machine's secret and everything that the head says."""
    secret = sk.sealing_secret if sk.checks.on(rules.SEAL_SECRET) else bytes(32)
    return hmac.digest(secret, head, "sha256")
