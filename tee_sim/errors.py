"""The error tree. Families never mix: each says who refused, and so who has to act.

::

    TeeSimError
      LayoutError (ValueError)   the bytes do not fit the structure
        Truncated                too few bytes, or too many
        Reserved                 a must-be-zero range is not zero
        UnknownVersion           a version or type field that we do not know
      Fault                      the hardware refused: a vector and an error code
        PageFault                #PF, vector 14
        GeneralProtection        #GP, vector 13
        InvalidOpcode            #UD, vector 6
        OtherFault               any other vector
        MachineCheck             #MC, vector 18: memory integrity; the machine stops
      CallError                  a monitor refused a call and says so in a status code
        SGXError                 the SDM's ENCLS / ENCLU error codes
        VBSError                 Windows error codes of enclave calls, and Hyper-V's of hypercalls
      GuestError                 the program inside misbehaved
        EnclaveLost              it died, or was stopped; it cannot be called again
        BudgetExceeded           it ran for longer than its instruction budget
        EcallFailed              it answered a call with an error code
      AttestationError           a Verifier refused the evidence
        BadSignature             a signature, or what a key is bound by, does not hold
        UntrustedChain           certificates that do not lead to the chosen root
        Expired                  outside its validity at the time of the appraisal
        Revoked                  a certificate, or the whole TCB level, was withdrawn
        TCBOutOfDate             the platform's TCB status is none that the policy accepts
        NonceMismatch            not made for this challenge, or not for this key
        ReferenceValueMismatch   not the identity, version or platform that was expected
        DebugForbidden           a debugger can read what runs there
        NotChecked               something before it failed, so it could not be checked
      ServiceError               a web service refused a request: HTTP status and the vendor's code
      PermissionRefused          the kernel refused: the caller was not granted what it asked for
      BuildError                 the guest program or its EDL does not compile
      UsageError (ValueError)    the simulator was misused; the message says what to do instead

An attack that is blocked is a *result* (`tee_sim.attacks.Outcome`), not an error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from tee_sim.checks import Check


class TeeSimError(Exception):
    """Base of everything that this package raises on purpose."""


class LayoutError(TeeSimError, ValueError):
    """Bytes that do not fit the structure they were given for."""


class Truncated(LayoutError):
    """Too few bytes for the structure, or bytes left over after it."""


class Reserved(LayoutError):
    """A range that the specification reserves (must be zero) holds something else."""


class UnknownVersion(LayoutError):
    """A version or type field holds a value that we do not know."""


class Fault(TeeSimError):
    """What the processor raises instead of completing an access or an instruction.

    Attributes:
        vector: exception vector, 0-31.
        error_code: the code the processor pushes; 0 where the vector has none.
        address: the faulting linear address (CR2) for #PF, else 0.
        check: the named check that refused, or None for an ordinary fault.
    """

    vector: int = -1
    name: ClassVar[str] = "fault"

    def __init__(
        self, message: str, *, error_code: int = 0, address: int = 0, check: Check | None = None
    ) -> None:
        super().__init__(message)
        self.error_code = error_code
        self.address = address
        self.check = check

    def __str__(self) -> str:
        by = f" [refused by {self.check.name}: {self.check.title}]" if self.check else ""
        return f"{self.name}({self.error_code:#x}): {self.args[0]}{by}"


class PageFault(Fault):
    """#PF. The error code follows the SDM: P=1, W/R=2, U/S=4, I/D=16, SGX=0x8000."""

    vector = 14
    name = "#PF"


class GeneralProtection(Fault):
    """#GP."""

    vector = 13
    name = "#GP"


class InvalidOpcode(Fault):
    """#UD."""

    vector = 6
    name = "#UD"


class OtherFault(Fault):
    """Any other exception; ``vector`` says which."""

    name = "exception"

    def __init__(self, message: str, *, vector: int, error_code: int = 0) -> None:
        super().__init__(message, error_code=error_code)
        self.vector = vector


class MachineCheck(Fault):
    """#MC: the memory controller found that memory was changed behind its back."""

    vector = 18
    name = "#MC"


class CallError(TeeSimError):
    """A monitor refused a call and reported a status code.

    Attributes:
        leaf: the call, in the vendor's name.
        status: the vendor's name of the status.
        code: its number.
        check: the named check that refused, if it is one.
    """

    def __init__(
        self, leaf: str, status: str, code: int, message: str, *, check: Check | None = None
    ) -> None:
        super().__init__(f"{leaf} refused with {status} ({code}): {message}")
        self.leaf, self.status, self.code, self.check = leaf, status, code, check


class SGXError(CallError):
    """An SGX leaf that returned an error code in RAX (SDM Vol. 3D, "Error Codes")."""


class VBSError(CallError):
    """An enclave function of Windows, or a hypercall, that failed with an error code."""


class BootError(TeeSimError):
    """The firmware found something wrong with the machine, and does not start it.

    Attributes:
        check: the named check that refused.
    """

    check: Check | None = None


class GuestError(TeeSimError):
    """The program inside did something that ends its call."""


class EnclaveLost(GuestError):
    """The enclave died or was stopped, and can no longer be called.

    Attributes:
        fault: the fault that ended it, or None.
    """

    def __init__(self, message: str, *, fault: Fault | None = None) -> None:
        super().__init__(message)
        self.fault = fault


class BudgetExceeded(GuestError):
    """The guest ran for longer than its instruction budget."""


class EcallFailed(GuestError):
    """The enclave answered an ecall with an error code; it lives on, and can be called again.

    Attributes:
        ecall: name of the function that was called.
        result: the code's name in Open Enclave's API, for example ``OE_INVALID_PARAMETER``.
        code: its number.
    """

    def __init__(self, ecall: str, result: str, code: int, message: str) -> None:
        super().__init__(f"{ecall} failed with {result} ({code}): {message}")
        self.ecall, self.result, self.code = ecall, result, code


class AttestationError(TeeSimError):
    """A Verifier does not accept evidence.

    Attributes:
        check: name of the check that failed; empty where there is none.
    """

    def __init__(self, message: str, *, check: str = "") -> None:
        super().__init__(f"{check}: {message}" if check else message)
        self.check = check


class BadSignature(AttestationError):
    """A signature does not verify, or a hash that binds a key does not match."""


class UntrustedChain(AttestationError):
    """Certificates or revocation lists that do not lead to the root that the caller chose."""


class Expired(AttestationError):
    """A certificate, a revocation list or other collateral is not valid at the given time."""


class NotYetValid(Expired):
    """It is not valid yet at the given time, which no policy accepts."""


class Revoked(AttestationError):
    """A certificate was revoked, or the platform's TCB level was."""


class TCBOutOfDate(AttestationError):
    """The platform's TCB status, or an advisory that concerns it, is not acceptable."""


class NonceMismatch(AttestationError):
    """The evidence was not made for this challenge, or not for this key."""


class ReferenceValueMismatch(AttestationError):
    """An identity, a measurement or a version is not what was expected."""


class DebugForbidden(AttestationError):
    """Whoever runs the machine can debug the enclave or the virtual machine."""


class NotChecked(AttestationError):
    """A check could not be made because of what failed before it; that is no acceptance."""


class ServiceError(TeeSimError):
    """A web service refused a request, and answers with an error.

    Attributes:
        code: the vendor's name of the error.
        status: the HTTP status of the answer, 400-499.
    """

    def __init__(self, message: str, *, code: str = "InvalidParameter", status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class PermissionRefused(TeeSimError):
    """The host's kernel refused, as a policy of its own; no hardware check stands behind it."""


class BuildError(TeeSimError):
    """The guest program or its interface does not compile.

    Attributes:
        file: the source file, where known.
        line: 1-based line, 0 where unknown.
        column: 1-based column, 0 where unknown.
        text: what the compiler said, whole.
    """

    def __init__(
        self, message: str, *, file: str = "", line: int = 0, column: int = 0, text: str = ""
    ) -> None:
        where = ":".join(str(part) for part in (file, line, column) if part)
        super().__init__(f"{where}: {message}" if file else message)
        self.file, self.line, self.column, self.text = file, line, column, text or message


class UsageError(TeeSimError, ValueError):
    """The simulator was misused. The message says what to do instead."""


def known(what: str, wanted: Iterable[str], names: Collection[str], where: str = "") -> list[str]:
    """The names that were given, each once.

    Args:
        what: what they are names of.
        wanted: one name, or several.
        names: those that exist.
        where: for the message.

    Raises:
        UsageError: one of them does not exist; the message lists those that do.
    """
    found = [wanted] if isinstance(wanted, str) else list(dict.fromkeys(wanted))
    for name in found:
        if name not in names:
            there = f"there are: {', '.join(names)}" if names else "there are none here"
            raise UsageError(f"no {what} named '{name}'{where}; {there}")
    return found
