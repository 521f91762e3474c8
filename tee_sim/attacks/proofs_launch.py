"""Proofs of the checks at launch, of the debugger's leaves, and of an enclave's end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from struct import pack
from typing import TYPE_CHECKING

from tee_sim.abi.sgx import SECS, TCS, PageType, SecinfoFlags
from tee_sim.abi.sgx_sign import EINITTOKEN
from tee_sim.attacks import code
from tee_sim.attacks.outcome import Outcome, nothing, refused, vault
from tee_sim.attacks.proofs_memory import LOOT, judge, proof
from tee_sim.attacks.tampered_image import more_tries
from tee_sim.errors import Fault, SGXError, TeeSimError
from tee_sim.hypervisor.guest import RETURN_ADDRESS
from tee_sim.hypervisor.honest import Launch
from tee_sim.hypervisor.sgx import SGXGuest, production
from tee_sim.platform import Platform
from tee_sim.sdk.image import load_program
from tee_sim.sdk.signing import signature
from tee_sim.units import PAGE

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave


def _launch(host: Platform, launch: Launch) -> Outcome:
    """Try a launch; it succeeds if the processor accepts it."""
    try:
        host.host.launch(launch)
    except SGXError as error:
        return refused(error)
    return Outcome("succeeds", "the processor accepted the launch")


@proof(
    "Write the new measurement into the signed structure", "SDM, EINIT", nothing, "EINIT.SIGNATURE"
)
def forged_sigstruct(host: Platform) -> Outcome:
    """Change the program, and ENCLAVEHASH in its SIGSTRUCT to match; keep the old signature."""
    image = load_program("vault", host.tee.target).image
    changed = more_tries(image)
    forged = signature(host.measurement(image)).with_(enclavehash=host.measurement(changed))
    return _launch(host, Launch("vault", changed, forged))


@proof("Sign the changed program oneself", "SDM, MRSIGNER", nothing)
def resigned_image(host: Platform) -> Outcome:
    """Change the program and sign it with the host's own key.

    Nothing on the machine objects: MRSIGNER differs, and only somebody who asks will notice.
    """
    changed = more_tries(load_program("vault", host.tee.target).image)
    own = signature(host.measurement(changed), attacker=True)
    return _launch(host, Launch("vault", changed, own))


@proof(
    "Load a page with other rights",
    "undeSErVed (Wilke et al. 2021) for page addresses on SEV",
    nothing,
    "MEASURE.EADD",
)
def wrong_rights(host: Platform) -> Outcome:
    """Load the program with its data pages executable; every byte of content is right."""
    image = load_program("careless", host.tee.target).image
    pages = tuple(replace(page, x=page.x or page.w) for page in image.pages)
    sigstruct = signature(host.measurement(image))
    return _launch(host, Launch("careless", replace(image, pages=pages), sigstruct))


@proof("Launch a production enclave for debugging", "SDM, EINIT", nothing, "EINIT.ATTRIBUTES")
def debug_launch(host: Platform) -> Outcome:
    """Set ATTRIBUTES.DEBUG, which is not measured, under a signature that forbids it."""
    image = load_program("vault", host.tee.target).image
    sigstruct = signature(host.measurement(image))
    return _launch(host, Launch("vault", image, sigstruct, production(debug=True)))


def _vendors_server(host: Platform) -> Platform:
    """Such a server, whose firmware left launch control to the vendor."""
    return Platform(host.tee.name, without=host.checks.without, launch_control=False)


@proof(
    "Launch without the vendor's permission",
    "SDM, EINIT",
    nothing,
    "EINIT.LEPUBKEYHASH",
)
def unpermitted_launch(host: Platform) -> Outcome:
    """Launch a program of the host's own where the vendor of the processor controls launches."""
    image = load_program("impostor", host.tee.target).image
    sigstruct = signature(host.measurement(image), attacker=True)
    return _launch(_vendors_server(host), Launch("impostor", image, sigstruct))


@proof("Write the vendor's permission oneself", "SDM, EINITTOKEN", nothing, "EINIT.TOKEN_MAC")
def forged_token(host: Platform) -> Outcome:
    """As `unpermitted_launch`, with a token that is right in all but its MAC."""
    image = load_program("impostor", host.tee.target).image
    measurement = host.measurement(image)
    sigstruct = signature(measurement, attacker=True)
    signer = sha256(sigstruct.modulus).digest()
    token = EINITTOKEN(valid=1, attributes=production(), mrenclave=measurement, mrsigner=signer)
    return _launch(_vendors_server(host), Launch("impostor", image, sigstruct, token=token))


@proof("Read with the debugger's leaf", "SDM, EDBGRD", vault, "EDBGRD.DEBUG")
def debug_read(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Read the secret of a production enclave with EDBGRD."""
    assert host.adversary.sgx is not None, "an SGX attack"
    place = victim.physical("vault_secret")
    try:
        words = [host.adversary.sgx.edbgrd(place + at) for at in range(0, 32, 8)]
    except Fault as fault:
        return refused(fault)
    return judge(pack("<4Q", *words), digest)


@proof("Add code to a running enclave", "SDM, EADD", vault, "EADD.INIT")
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


@proof("Inherit the pages of another enclave", "SDM, EREMOVE", vault, "EREMOVE.CHILD")
def inherit_pages(host: Platform, victim: DeployedEnclave, digest: bytes) -> Outcome:
    """Replace the vault's SECS by one of the host's own: its pages now belong to that one."""
    assert host.adversary.sgx is not None, "an SGX attack"
    return _inherit(host, victim, digest, host.adversary.sgx.eremove)


@proof("Inherit pages from an evicted root page", "SDM, EWB", vault, "EWB.CHILD")
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
    assert isinstance(guest, SGXGuest), "an SGX attack"
    assert sgx is not None, "an SGX attack"
    size, frame = guest.image.size, guest.image.ssaframesize
    secs = SECS(size=size, baseaddr=guest.base, ssaframesize=frame, attributes=production())
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
    first = SecinfoFlags(page_type=PageType.TCS), tcs.pack()
    rest = (data, bytes(PAGE)), (program, thief.ljust(PAGE, b"\xcc"))
    for index, (flags, content) in enumerate((first, *rest)):
        page, gva = sgx.epc.take(), guest.base + offset + index * PAGE
        sgx.eadd(page, guest.secs_hpa, gva, flags, content)
        guest.space.map(gva, page, executable=bool(flags.x))
    guest.tcs_offsets.append(offset)


def _rob(guest: SGXGuest, digest: bytes) -> Outcome:
    """Enter the thief and look at what it copied."""
    guest.write(LOOT, bytes(32))
    guest.enter(len(guest.tcs_offsets) - 1, 0, 0)
    return judge(guest.read(LOOT, 32), digest)
