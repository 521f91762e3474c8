"""Proofs of the checks at launch, of the debugger's leaves, and of an enclave's end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

from tee_sim.abi.sgx import SECS, TCS, PageType, SecinfoFlags
from tee_sim.attacks import code
from tee_sim.attacks.outcome import Outcome, attack, nothing, refused, vault
from tee_sim.attacks.proofs_memory import LOOT, SGX
from tee_sim.attacks.tampered_image import more_tries
from tee_sim.errors import Fault, SGXError, TeeSimError
from tee_sim.hypervisor.guest import RETURN_ADDRESS
from tee_sim.hypervisor.honest import Launch
from tee_sim.hypervisor.sgx import SGXGuest, production
from tee_sim.platform import signature
from tee_sim.sdk.image import load_program
from tee_sim.units import PAGE

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform


def _launch(host: Platform, launch: Launch) -> Outcome:
    """Try a launch; it succeeds if the processor accepts it."""
    try:
        host.host.launch(launch)
    except SGXError as error:
        return refused(error)
    return Outcome("succeeds", "the processor accepted the launch")


@attack(
    title="Write the new measurement into the signed structure",
    reference="SDM, EINIT",
    stage=nothing,
    proves=("EINIT.SIGNATURE",),
    only=SGX,
)
def forged_sigstruct(host: Platform) -> Outcome:
    """Change the program, and ENCLAVEHASH in its SIGSTRUCT to match; keep the old signature."""
    image = load_program("vault", host.tee.target).image
    changed = more_tries(image)
    forged = signature(host.measurement(image)).with_(enclavehash=host.measurement(changed))
    return _launch(host, Launch("vault", changed, forged))


@attack(
    title="Sign the changed program oneself",
    reference="SDM, MRSIGNER",
    stage=nothing,
    only=SGX,
)
def resigned_image(host: Platform) -> Outcome:
    """Change the program and sign it with the host's own key.

    Nothing on the machine objects: MRSIGNER differs, and only somebody who asks will notice.
    """
    changed = more_tries(load_program("vault", host.tee.target).image)
    return _launch(
        host, Launch("vault", changed, signature(host.measurement(changed), attacker=True))
    )


@attack(
    title="Load a page with other rights",
    reference="undeSErVed (Wilke et al. 2021) for page addresses on SEV",
    stage=nothing,
    proves=("MEASURE.EADD",),
    only=SGX,
)
def wrong_rights(host: Platform) -> Outcome:
    """Load the program with its data pages executable; every byte of content is right."""
    image = load_program("careless", host.tee.target).image
    pages = tuple(replace(page, x=page.x or page.w) for page in image.pages)
    return _launch(
        host, Launch("careless", replace(image, pages=pages), signature(host.measurement(image)))
    )


@attack(
    title="Launch a production enclave for debugging",
    reference="SDM, EINIT",
    stage=nothing,
    proves=("EINIT.ATTRIBUTES",),
    only=SGX,
)
def debug_launch(host: Platform) -> Outcome:
    """Set ATTRIBUTES.DEBUG, which is not measured, under a signature that forbids it."""
    image = load_program("vault", host.tee.target).image
    sigstruct = signature(host.measurement(image))
    return _launch(host, Launch("vault", image, sigstruct, production(debug=True)))


@attack(
    title="Read with the debugger's leaf",
    reference="SDM, EDBGRD",
    stage=vault,
    proves=("EDBGRD.DEBUG",),
    only=SGX,
)
def debug_read(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Read the secret of a production enclave with EDBGRD."""
    assert host.adversary.sgx is not None, "an SGX attack"
    place = victim.physical("vault_secret")
    try:
        words = [host.adversary.sgx.edbgrd(place + at) for at in range(0, 32, 8)]
    except Fault as fault:
        return refused(fault)
    return _judge(b"".join(word.to_bytes(8, "little") for word in words), digest)


@attack(
    title="Add code to a running enclave",
    reference="SDM, EADD",
    stage=vault,
    proves=("EADD.INIT",),
    only=SGX,
)
def late_page(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """EADD a thread and code of the host's own to a finished vault, and enter them."""
    guest = victim.guest
    assert isinstance(guest, SGXGuest), "an SGX attack"
    free = max(page.offset for page in victim.program.image.pages) + PAGE
    try:
        _add_thief(host, guest, free, victim.address("vault_secret"))
    except Fault as fault:
        return refused(fault)
    return _rob(guest, digest)


@attack(
    title="Inherit the pages of another enclave",
    reference="SDM, EREMOVE",
    stage=vault,
    proves=("EREMOVE.CHILD",),
    only=SGX,
)
def inherit_pages(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Replace the vault's SECS by one of the host's own: its pages now belong to that one."""
    assert host.adversary.sgx is not None, "an SGX attack"
    return _inherit(host, victim, digest, host.adversary.sgx.eremove)


@attack(
    title="Inherit pages from an evicted root page",
    reference="SDM, EWB",
    stage=vault,
    proves=("EWB.CHILD",),
    only=SGX,
)
def inherit_evicted(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """As `inherit_pages`, but evict the SECS page instead of removing it."""
    sgx = host.adversary.sgx
    assert sgx is not None, "an SGX attack"
    versions = sgx.epc.take()
    sgx.epa(versions)
    return _inherit(host, victim, digest, lambda hpa: sgx.ewb(hpa, versions))


def _inherit(
    host: Platform, victim: DeployedEnclave, digest: bytes, clear: Callable[[int], object]
) -> Outcome:
    guest, sgx = victim.guest, host.adversary.sgx
    assert isinstance(guest, SGXGuest) and sgx is not None, "an SGX attack"  # noqa: PT018
    secs = SECS(
        size=guest.image.size,
        baseaddr=guest.base,
        ssaframesize=guest.image.ssaframesize,
        attributes=production(),
    )
    free = max(page.offset for page in victim.program.image.pages) + PAGE
    try:
        clear(guest.secs_hpa)
        enclave = sgx.ecreate(guest.secs_hpa, secs)
        _add_thief(host, guest, free, victim.address("vault_secret"))
        sgx.einit(guest.secs_hpa, signature(enclave.mrenclave, attacker=True))
    except TeeSimError as error:
        return refused(error)
    return _rob(guest, digest)


def _add_thief(host: Platform, guest: SGXGuest, offset: int, secret: int) -> None:
    """Add a thread, its save area and code that copies the secret out and leaves."""
    sgx = host.adversary.sgx
    assert sgx is not None, "an SGX attack"
    thief = code.copy(secret, LOOT, 32, code.eexit(RETURN_ADDRESS))
    tcs = TCS(ossa=offset + PAGE, nssa=1, oentry=offset + 2 * PAGE)
    data = SecinfoFlags(r=True, w=True, page_type=PageType.REG)
    program = SecinfoFlags(r=True, x=True, page_type=PageType.REG)
    for index, (flags, content) in enumerate(
        (
            (SecinfoFlags(page_type=PageType.TCS), tcs.pack()),
            (data, bytes(PAGE)),
            (program, thief.ljust(PAGE, b"\xcc")),
        )
    ):
        page, gva = sgx.epc.take(), guest.base + offset + index * PAGE
        sgx.eadd(page, guest.secs_hpa, gva, flags, content)
        guest.space.map(gva, page, executable=bool(flags.x))
    guest.tcs_offsets.append(offset)


def _rob(guest: SGXGuest, digest: bytes) -> Outcome:
    """Enter the thief and look at what it copied."""
    guest.write(LOOT, bytes(32))
    guest.enter(len(guest.tcs_offsets) - 1, 0, 0)
    return _judge(guest.read(LOOT, 32), digest)


def _judge(found: bytes, digest: bytes) -> Outcome:
    if sha256(found).digest() == digest:
        return Outcome("succeeds", "the host holds the secret", leaked=found)
    return Outcome("blocked", f"the host holds {found[:4].hex(' ')} ..., not the secret")
