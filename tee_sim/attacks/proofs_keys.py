"""Proofs of the checks behind keys and reports: who opens what was sealed, who is believed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from tee_sim.abi.image import ALL_CHUNKS, Identity, Image, ImagePage
from tee_sim.abi.sgx import KEYREQUEST, REPORT, TCS, KeyName, PageType, ReportBody
from tee_sim.attacks import code
from tee_sim.attacks.outcome import Outcome, Variant, attack, nothing, stopped
from tee_sim.attacks.proofs_memory import LOOT, SGX, proof
from tee_sim.attacks.rollback_sealed_state import PRODUCT, USES, new_card, restore
from tee_sim.errors import EcallFailed
from tee_sim.hypervisor.guest import ENCLAVE_BASE, RETURN_ADDRESS
from tee_sim.hypervisor.honest import Launch
from tee_sim.hypervisor.sgx import production
from tee_sim.platform import Platform
from tee_sim.sdk.image import Program, load_program
from tee_sim.sdk.signing import signature
from tee_sim.units import PAGE

if TYPE_CHECKING:
    from tee_sim.hypervisor.guest import Guest
    from tee_sim.platform import DeployedEnclave

SEALING = (*SGX, "vbs")
"""Where there is something to seal with."""

DATA, OUTPUT = ENCLAVE_BASE + PAGE, ENCLAVE_BASE + PAGE + 0x400
"""Where an enclave of the attacker's keeps the request to EGETKEY, and where the key goes."""


# Sealed state


def reopen(
    host: Platform, state: bytes, check: str = "", program: Program | None = None, **how: Any
) -> Outcome:
    """Launch a program (the card itself if none is named) and have it open a sealed state.

    Args:
        host: where.
        state: what was sealed.
        check: what gives the opener another key, where no leaf refuses.
        program: the opener.
        how: how it is created.
    """
    card = host.create_enclave(program or "sealed_counter", **how)
    result = restore(card, state)
    if result == "OE_OK" and card.uses_left() == USES:
        return Outcome("succeeds", f"the sealed state is open: {USES} uses")
    detail = f"the state stays sealed: {result}"
    silent = result == "OE_CRYPTO_ERROR" and host.tee.target == "sgx"
    return stopped(host, detail, check if silent else None)


def another_version(program: Program) -> Program:
    """The same code, but another enclave: its heap is measured, too."""
    pages = tuple(replace(page, measured=ALL_CHUNKS) for page in program.image.pages)
    return replace(program, image=replace(program.image, pages=pages))


@proof(
    "Open sealed state on another processor",
    "SDM, EGETKEY",
    nothing,
    "EGETKEY.FUSES",
    "SK.SEAL_SECRET",
    only=SEALING,
)
def another_processor(host: Platform) -> Outcome:
    """Copy the disk of another server of the same make, and the program, to this one."""
    _, disk = new_card(Platform(host.tee.name, seed=None, without=host.checks.without))
    return reopen(host, disk[0], "EGETKEY.FUSES")


@proof(
    "Open sealed state with another program of the author",
    "SDM, EGETKEY",
    new_card,
    "EGETKEY.MRENCLAVE",
    "SK.SEAL_IDENTITY",
    only=SEALING,
)
def another_program(host: Platform, _card: object, disk: list[bytes]) -> Outcome:
    """Give what a program sealed for itself to another one that the same author signed."""
    other = another_version(load_program("sealed_counter", host.tee.target))
    return reopen(host, disk[0], "EGETKEY.MRENCLAVE", other)


@proof(
    "Open sealed state with the host's own program",
    "SDM, EGETKEY",
    lambda host: new_card(host, PRODUCT),
    "EGETKEY.MRSIGNER",
    "SK.SEAL_IDENTITY",
    only=SEALING,
)
def another_author(host: Platform, _card: object, disk: list[bytes]) -> Outcome:
    """Give what was sealed for an author's programs to one that the host signed."""

    def sign_it(launch: Launch) -> Launch:
        signed = host.sign(launch.image, launch.identity, attacker=True)
        return replace(launch, sigstruct=signed)

    with host.adversary.tampering(sign_it):
        return reopen(host, disk[0], "EGETKEY.MRSIGNER")


@attack(
    title="Open sealed state after removing an update",
    reference="SDM, EGETKEY; TCB recovery",
    stage=nothing,
    proves=("EGETKEY.CPUSVN",),
    only=SGX,
    variants=(Variant(patch_level=0),),
)
def older_processor(host: Platform) -> Outcome:
    """Start the server again without the update with which the state was sealed."""
    _, disk = new_card(Platform(host.tee.name, patch_level=1, without=host.checks.without))
    return reopen(host, disk[0])


@proof(
    "Open sealed state with an older version of the program",
    "SDM, EGETKEY",
    lambda host: new_card(host, PRODUCT, Identity(isvsvn=2)),
    "EGETKEY.ISVSVN",
    "SK.SEAL_SVN",
    only=SEALING,
)
def older_version(host: Platform, _card: object, disk: list[bytes]) -> Outcome:
    """Start the version that its author replaced, and signed as an older one."""
    return reopen(host, disk[0])


# Enclaves of the attacker's own: a page of code, a page of data, one thread


def _own_enclave(host: Platform, program: bytes, data: bytes = b"") -> Guest:
    """Launch a few instructions as an enclave that the host signs."""
    tcs = TCS(ossa=3 * PAGE, nssa=1, oentry=0, ofsbase=PAGE, ogsbase=PAGE)
    image = Image(
        4 * PAGE,
        1,
        (
            ImagePage(0, PageType.REG, True, False, True, program.ljust(PAGE, b"\xcc")),
            ImagePage(PAGE, PageType.REG, True, True, False, data.ljust(PAGE, b"\0")),
            ImagePage(2 * PAGE, PageType.TCS, False, False, False, tcs.pack()),
            ImagePage(3 * PAGE, PageType.REG, True, True, False, bytes(PAGE)),
        ),
    )
    sigstruct = signature(host.measurement(image), attacker=True)
    return host.host.launch(Launch("own", image, sigstruct, production()))


def _own_key(host: Platform, request: KEYREQUEST) -> bytes:
    """A key that an enclave of the attacker's asks for and gives away; zeros if it gets none."""
    ask = code.load("rbx", DATA) + code.load("rcx", OUTPUT) + code.load("rax", 1) + code.ENCLU
    out = code.copy(OUTPUT, LOOT, 16, code.eexit(RETURN_ADDRESS))
    guest = _own_enclave(host, ask + out, request.pack())
    guest.write(LOOT, bytes(16))
    guest.enter(0)
    return guest.read(LOOT, 16)


@proof(
    "Track the processor through its owners",
    "SDM, EGETKEY: PROVISIONKEY",
    nothing,
    "EGETKEY.PROVISIONKEY",
)
def unpermitted_provision_key(host: Platform) -> Outcome:
    """A customer whom the kernel does not let have PROVISIONKEY asks for the key all the same."""
    key = _own_key(host, KEYREQUEST(keyname=KeyName.PROVISION))
    if any(key):
        return Outcome("succeeds", "the customer knows this processor for ever", leaked=key)
    return stopped(host, "EGETKEY gave no provisioning key")


@proof(
    "Forge a report to another enclave",
    "SDM, EREPORT",
    lambda host: (host.create_enclave("reporter"),),
    "EREPORT.TARGET",
)
def forged_report(host: Platform, reporter: DeployedEnclave) -> Outcome:
    """Take the report key of an enclave of one's own, and write a report to another one with it."""
    target = reporter.my_target()
    keyid = b"attacker".ljust(32, b"\0")
    key = _own_key(host, KEYREQUEST(keyname=KeyName.REPORT, keyid=keyid))
    body = ReportBody(mrenclave=target[:32], mrsigner=b"whoever you trust".ljust(32))
    mac = CMAC(AES(key))
    mac.update(body.pack())
    report = REPORT(body=body, keyid=keyid, mac=mac.finalize()).pack()
    envelope = b"".join(n.to_bytes(4, "little") for n in (1, 1, len(report), 0))
    try:
        found = reporter.check(envelope + report)
    except EcallFailed as error:
        return stopped(host, f"not believed: {error.result}", "EREPORT.TARGET")
    who = found.signer_id.decode().rstrip()
    return Outcome("succeeds", f"the enclave believes a report by {who!r}")


@proof(
    "Forge a report of a trust domain",
    'Intel TDX documents, "EVERIFYREPORT2"',
    nothing,
    "EVERIFYREPORT2.MAC",
)
def forged_reportmacstruct(host: Platform) -> Outcome:
    """Give an enclave that quotes trust domains a structure that no processor made."""
    verify = code.load("rbx", DATA) + code.load("rax", 8) + code.ENCLU + b"\x48\x89\xc7"
    forged = (0x81).to_bytes(16, "little").ljust(256, b"\0")
    quoter = _own_enclave(host, verify + code.eexit(RETURN_ADDRESS), forged)
    if quoter.enter(0)[0] == 0:
        return Outcome("succeeds", "the enclave would sign for a trust domain that does not exist")
    return stopped(host, "EVERIFYREPORT2 refused the structure")
