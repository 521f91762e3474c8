"""What an enclave asks the secure kernel for: SYSCALL, with the number in RAX.

The numbers and the registers of arguments (RDI, RSI, RDX, R10) are this package's own, in
``sdk/guest/include/tee/vbs.h``; the functions behind them are those of ``winenclaveapi.h``. RAX
comes back with 0 or an error of ``winerror.h``.

Source: Microsoft Learn, "Enclave functions".

Simplified: Windows offers them through the library ``vertdll.dll`` inside the enclave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import IntEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.hashes import SHA256

from tee_sim.abi.vbs import REPORT_DATA, EnclaveReport, Module, ModuleIdentity, read_report
from tee_sim.errors import GeneralProtection, LayoutError, VBSError
from tee_sim.machine.cpu import LogicalProcessor
from tee_sim.machine.measured_boot import sign_statement
from tee_sim.machine.paging import ADDRESS_MASK, PRESENT, WRITABLE
from tee_sim.machine.registers import R10, RAX, RDI, RDX, RSI
from tee_sim.monitors.vbs import checks as rules
from tee_sim.monitors.vbs import crossing, sealing
from tee_sim.monitors.vbs.enclave import Enclave, State
from tee_sim.monitors.vbs.secure_kernel import SecureKernel, error
from tee_sim.trace import Leaf
from tee_sim.units import MIB, PAGE

MOST = 256 * MIB
"""Bytes that one call may move."""


class Call(IntEnum):
    """Numbers of the calls."""

    LEAVE = 0
    COPY_INTO_ENCLAVE = 1
    COPY_OUT_OF_ENCLAVE = 2
    RESTRICT_CONTAINING_PROCESS_ACCESS = 3
    GET_ENCLAVE_INFORMATION = 4
    SEAL_DATA = 5
    UNSEAL_DATA = 6
    GET_ATTESTATION_REPORT = 7
    VERIFY_ATTESTATION_REPORT = 8


def syscall(sk: SecureKernel, lp: LogicalProcessor) -> bool:
    """Do what the enclave on this processor asks for; whether that took it out.

    Raises:
        GeneralProtection: the enclave named memory that it does not have, or the call is refused
            for what VTL0 lends.
    """
    registers, enclave = lp.registers(), lp.context
    if enclave.state == State.TERMINATED:
        raise GeneralProtection("the enclave was terminated")
    number = registers[RAX]
    if number == Call.LEAVE:
        crossing.leave(sk, lp)
        return True
    arguments = (registers[RDI], registers[RSI], registers[RDX], registers[R10])
    try:
        handler = _HANDLERS.get(number)
        if handler is None:
            raise error("SYSCALL", "ERROR_INVALID_PARAMETER", f"there is no call {number}")
        handler(sk, enclave, *arguments)
        registers[RAX] = 0
    except VBSError as refused:
        registers[RAX] = refused.code
    lp.set_registers(registers)
    if sk.checks.tracer is not None and handler is not None:
        sk.checks.emit(Leaf(Call(number).name, f"status {registers[RAX]}"))
    return False


def inside(sk: SecureKernel, enclave: Enclave, gva: int, size: int, write: bool = False) -> bytes:
    """Bytes of the enclave's own memory, as its own code would reach them.

    Raises:
        VBSError: not all of it is the enclave's, or it may not be written.
    """
    if size > MOST or not enclave.encloses(gva, size):
        raise error("SYSCALL", "ERROR_INVALID_ADDRESS", f"{gva:#x} is not the enclave's")
    pieces = _pieces(enclave, gva, size, enclave.space.entry, write)
    return b"".join(sk.hypervisor.machine.cache.read(*piece) for piece in pieces)


def store(sk: SecureKernel, enclave: Enclave, gva: int, data: bytes) -> None:
    """Write to the enclave's own memory. Raises as `inside`."""
    inside(sk, enclave, gva, len(data), write=True)
    _write(sk, _pieces(enclave, gva, len(data), enclave.space.entry, True), data)


def _write(sk: SecureKernel, pieces: list[tuple[int, int]], data: bytes) -> None:
    at = 0
    for hpa, length in pieces:
        sk.hypervisor.machine.cache.write(hpa, data[at : at + length])
        at += length


def _pieces(
    enclave: Enclave, gva: int, size: int, entry_of: Callable[[int], int | None], write: bool
) -> list[tuple[int, int]]:
    """Physical ranges of a linear one: (address, bytes).

    Raises:
        VBSError: a page is not there, or not writable.
    """
    found = []
    while size > 0:
        length = min(size, PAGE - gva % PAGE)
        entry = entry_of(gva & -PAGE) or 0
        if not entry & PRESENT or (write and not entry & WRITABLE):
            raise error("SYSCALL", "ERROR_INVALID_ADDRESS", f"{gva:#x} cannot be used so")
        found.append(((entry & ADDRESS_MASK) + gva % PAGE, length))
        gva, size = gva + length, size - length
    return found


def _outside(
    sk: SecureKernel, enclave: Enclave, gva: int, size: int, write: bool
) -> list[tuple[int, int]]:
    """Physical ranges of memory of the process, for the copy services."""
    if not enclave.excludes(gva, size):
        if sk.checks.on(rules.UNSECURE_RANGE):
            why = f"{gva:#x} is not ordinary memory"
            sk.refuse(rules.UNSECURE_RANGE, "EnclaveCopy", "ERROR_INVALID_ADDRESS", why)
        return _pieces(enclave, gva, size, enclave.space.entry, write)

    def entry_of(page: int) -> int | None:
        entry = crossing.vtl0_page(sk, enclave, page)
        if entry is None and enclave.provide(page):
            entry = crossing.vtl0_page(sk, enclave, page)
        return entry

    return _pieces(enclave, gva, size, entry_of, write)


def copy_into_enclave(
    sk: SecureKernel, enclave: Enclave, to: int, outside: int, size: int, _unused: int
) -> None:
    """EnclaveCopyIntoEnclave: read memory of the process once; also where it is off limits.

    # Checks
    The target lies inside, the source outside (SK.UNSECURE_RANGE) and is VTL0's (SK.VTL0_PAGE).
    """
    inside(sk, enclave, to, size, write=True)
    pieces = _outside(sk, enclave, outside, size, write=False)
    data = b"".join(sk.hypervisor.machine.cache.read(*piece) for piece in pieces)
    store(sk, enclave, to, data)


def copy_out_of_enclave(
    sk: SecureKernel, enclave: Enclave, outside: int, source: int, size: int, _unused: int
) -> None:
    """EnclaveCopyOutOfEnclave: the reverse. Checks as `copy_into_enclave`."""
    data = inside(sk, enclave, source, size)
    _write(sk, _outside(sk, enclave, outside, size, write=True), data)


def restrict_containing_process_access(
    sk: SecureKernel, enclave: Enclave, restrict: int, previous: int, *_unused: int
) -> None:
    """EnclaveRestrictContainingProcessAccess: from now on, or no longer; tells what was before.

    # Transition
    What the enclave could use of its process is unmapped when it becomes off limits.
    """
    store(sk, enclave, previous, int(enclave.strict).to_bytes(4, "little"))
    enclave.strict = restrict & 0xFFFFFFFF != 0
    for gva in list(enclave.mirrored) if enclave.strict else ():
        sk.unmirror(enclave, gva)


def debug(
    sk: SecureKernel, enclave: Enclave, gva: int, size: int, data: bytes | None = None
) -> bytes:
    """What a debugger in VTL0 reads; with ``data``, which has ``size`` bytes, what it overwrites.

    # Checks
    The enclave exists; author and creator allow it (SK.DEBUG_POLICY).

    Raises:
        VBSError: they do not, or the memory is not the enclave's.
    """
    if enclave.state == State.DELETED:
        raise error("ReadProcessMemory", "ERROR_INVALID_ADDRESS", "it was deleted")
    if not enclave.debug and sk.checks.on(rules.DEBUG_POLICY):
        why = "the enclave was not made to be debugged"
        sk.refuse(rules.DEBUG_POLICY, "ReadProcessMemory", "ERROR_ACCESS_DENIED", why)
    found = inside(sk, enclave, gva, size)
    if data is not None:
        store(sk, enclave, gva, data)
    return found


def _get_information(sk: SecureKernel, enclave: Enclave, to: int, *_unused: int) -> None:
    """EnclaveGetEnclaveInformation: the identity alone."""
    store(sk, enclave, to, sealing.identity(sk, enclave).pack())


def _seal(sk: SecureKernel, enclave: Enclave, policies: int, data: int, size: int, to: int) -> None:
    """EnclaveSealData. The blob has `sealing.OVERHEAD` bytes more than the data."""
    plaintext = inside(sk, enclave, data, size)
    policy, runtime = policies & 0xFFFFFFFF, policies >> 32
    store(sk, enclave, to, sealing.seal(sk, enclave, policy, runtime, plaintext))


def _unseal(
    sk: SecureKernel, enclave: Enclave, blob: int, size: int, to: int, _unused: int
) -> None:
    """EnclaveUnsealData."""
    store(sk, enclave, to, sealing.unseal(sk, enclave, inside(sk, enclave, blob, size)))


def _get_report(
    sk: SecureKernel, enclave: Enclave, data: int, to: int, size: int, out: int
) -> None:
    """EnclaveGetAttestationReport: 64 bytes of the enclave's choice, and who it is, signed."""
    who = sealing.identity(sk, enclave)
    fields = {name: getattr(who, name) for name in ("unique_id", "author_id", "family_id")}
    module = ModuleIdentity(**fields, image_id=who.image_id, svn=who.enclave_svn)
    report = EnclaveReport(
        inside(sk, enclave, data, REPORT_DATA), who, (Module(module, f"{enclave.name}.dll"),)
    )
    signature = sign_statement(sk.signing_key, report.signed_statement())
    packed = replace(report, signature=signature).pack()
    if len(packed) > size:
        raise error("EnclaveGetAttestationReport", "ERROR_INVALID_PARAMETER", "too little room")
    store(sk, enclave, out, len(packed).to_bytes(8, "little"))
    store(sk, enclave, to, packed)


def _verify_report(sk: SecureKernel, enclave: Enclave, at: int, size: int, *_unused: int) -> None:
    """EnclaveVerifyAttestationReport: did this secure kernel sign it? (SK.REPORT_SIGNATURE)."""
    call = "EnclaveVerifyAttestationReport"
    try:
        report = read_report(inside(sk, enclave, at, size))
        statement = report.signed_statement()
        pss = PSS(MGF1(SHA256()), salt_length=PSS.AUTO)
        sk.signing_key.public_key().verify(report.signature, statement, pss, SHA256())
    except LayoutError:
        raise error(call, "ERROR_INVALID_PARAMETER", "that is no report") from None
    except InvalidSignature:
        if sk.checks.on(rules.REPORT_SIGNATURE):
            why = "no report of this machine"
            sk.refuse(rules.REPORT_SIGNATURE, call, "ERROR_ACCESS_DENIED", why)


_HANDLERS: dict[int, Callable[[SecureKernel, Enclave, int, int, int, int], None]] = {
    Call.COPY_INTO_ENCLAVE: copy_into_enclave,
    Call.COPY_OUT_OF_ENCLAVE: copy_out_of_enclave,
    Call.RESTRICT_CONTAINING_PROCESS_ACCESS: restrict_containing_process_access,
    Call.GET_ENCLAVE_INFORMATION: _get_information,
    Call.SEAL_DATA: _seal,
    Call.UNSEAL_DATA: _unseal,
    Call.GET_ATTESTATION_REPORT: _get_report,
    Call.VERIFY_ATTESTATION_REPORT: _verify_report,
}
