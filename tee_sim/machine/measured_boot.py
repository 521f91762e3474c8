"""A measured boot: each program is measured before it starts, by the one that starts it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tee_sim.abi import boot_log
from tee_sim.abi.boot_log import Event, Tag, pack_tags
from tee_sim.errors import UsageError
from tee_sim.machine.entropy import published_key
from tee_sim.machine.tpm import TPM


class Component(NamedTuple):
    """A program of the boot: its name, its security version, its bytes."""

    name: str
    svn: int
    image: bytes


def measured_boot(
    tpm: TPM,
    components: Sequence[Component],
    idks: rsa.RSAPublicKey,
    *,
    settings: Mapping[Tag, bytes] | None = None,
    secure_boot: bool = True,
) -> bytes:
    """Reset the TPM, measure a boot into it, and return the event log.

    Nothing is refused here: a changed program starts like any other. But the PCRs say so.

    Args:
        tpm: of the machine that boots.
        components: what is started, in order: firmware, boot manager, then what Windows loads.
        idks: public half of the key with which the secure kernel will sign reports.
        settings: those of PCR 12 that differ from `boot_log.SETTINGS`.
        secure_boot: what the firmware says of it.

    Raises:
        UsageError: there are not even firmware and boot manager, a version has more than 32 bits,
            or there is no such setting.

    Simplified: a digest is over the whole image (Authenticode leaves out checksum and signature).
    """
    facts = {**boot_log.SETTINGS, **(settings or {})}
    if len(components) < 2 or any(each.svn not in range(1 << 32) for each in components):
        raise UsageError("a boot needs firmware, a boot manager, and versions of 32 bits")
    if len(facts) > len(boot_log.SETTINGS):
        raise UsageError(f"the settings are {', '.join(tag.name for tag in boot_log.SETTINGS)}")
    firmware, manager, *modules = components
    numbers = idks.public_numbers()
    facts[Tag.VSM_IDKS_INFO] = boot_log.pack_rsa(numbers.e, numbers.n)
    told = [
        (0, boot_log.FIRMWARE, firmware.image),
        (7, boot_log.VARIABLE, boot_log.SECURE_BOOT + bytes([secure_boot])),
        *((pcr, boot_log.SEPARATOR, boot_log.NO_WBCL) for pcr in (0, 4, 7)),
        (4, boot_log.APPLICATION, manager.image),
        (12, boot_log.EVENT_TAG, pack_tags([(Tag.TRUSTBOUNDARY, pack_tags(facts.items()))])),
        *((13, boot_log.EVENT_TAG, _module(module)) for module in modules),
        *((pcr, boot_log.SEPARATOR, boot_log.WBCL) for pcr in (12, 13)),
    ]
    tpm.reset()
    events = []
    for pcr, kind, data in told:
        digest = hashlib.sha256(data).digest()
        tpm.extend(pcr, digest)
        events.append(Event(pcr, kind, digest, boot_log.UNCOVERED.get(kind, data)))
    return boot_log.pack_log(events)


def _module(module: Component) -> bytes:
    values = (
        module.name.encode("utf-16-le"),
        len(module.image).to_bytes(8, "little"),
        boot_log.CALG_SHA_256.to_bytes(4, "little"),
        hashlib.sha256(module.image).digest(),
        module.svn.to_bytes(4, "little"),
    )
    data = pack_tags(zip(boot_log.MODULE, values, strict=True))
    for aggregation in (Tag.LOADEDMODULE_AGGREGATION, Tag.TRUSTBOUNDARY):
        data = pack_tags([(aggregation, data)])
    return data


def idks(seed: int | None) -> rsa.RSAPrivateKey:
    """The key with which a secure kernel signs reports: VSM identity key for signing.

    Windows makes it at boot.

    Simplified: with a seed it is the published key ``idks_key.pem``, because RSA keys cannot be
    derived from one. All machines with seeds have it, so each takes the reports of the others for
    its own; ``seed=None`` makes a key for each machine.
    """
    if seed is None:
        return rsa.generate_private_key(65537, 2048)
    return published_key("idks_key.pem")


def sign_statement(key: rsa.RSAPrivateKey, statement: bytes) -> bytes:
    """SHA256-RSA-PSS-SHA256 over the signed statement of a report.

    Simplified: the salt is empty, so that a seed gives the same bytes again; Windows draws one.
    """
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), salt_length=0)
    return key.sign(statement, pss, hashes.SHA256())
