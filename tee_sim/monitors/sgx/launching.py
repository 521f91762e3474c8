"""EINIT and launch control: who may make an enclave enterable, and by whose permission.

Source: Intel SDM Vol. 3D, "EINIT - Initialize an Enclave for Execution" and "Intel SGX Launch
Control Configuration"; Vol. 4, IA32_FEATURE_CONTROL and IA32_SGXLEPUBKEYHASH0-3.

Simplified: the firmware always enables SGX, so the leaves do not ask for SGX_ENABLE.
"""

from __future__ import annotations

import hmac

from tee_sim.abi.sgx import AttributeFlags, KeyName, MiscSelect
from tee_sim.abi.sgx_sign import EINITTOKEN, HEADER, HEADER2, SIGSTRUCT, VENDOR_INTEL
from tee_sim.errors import GeneralProtection, UsageError
from tee_sim.monitors.sgx import checks as rules
from tee_sim.monitors.sgx.building import enclave_of
from tee_sim.monitors.sgx.enclave import Enclave
from tee_sim.monitors.sgx.keys import KeyDependencies, cmac, derive, is_beyond
from tee_sim.monitors.sgx.processor import LAUNCH_CONTROL, LOCKED, SGX
from tee_sim.monitors.sgx.sigstruct import BadSigstruct, mrsigner, verify
from tee_sim.monitors.sgx.status import refusal, status
from tee_sim.trace import Leaf

IA32_FEATURE_CONTROL, IA32_SGXLEPUBKEYHASH0 = 0x3A, 0x8C
"""MSR numbers; the hash takes four registers of 8 bytes."""


def wrmsr(sgx: SGX, msr: int, value: int) -> None:
    """Write one of the registers of launch control.

    Raises:
        GeneralProtection: IA32_FEATURE_CONTROL is locked already; or it is not locked with launch
            control enabled, and so IA32_SGXLEPUBKEYHASH is read-only; or no such register.
        UsageError: ``value`` does not fit.
    """
    if not 0 <= value < 1 << 64:
        raise UsageError(f"a register has 64 bits: not {value:#x}")
    index = msr - IA32_SGXLEPUBKEYHASH0
    if msr == IA32_FEATURE_CONTROL:
        if sgx.feature_control & LOCKED:
            raise GeneralProtection("IA32_FEATURE_CONTROL is locked until the next reset")
        sgx.feature_control = value
    elif 0 <= index < 4:
        if not is_flexible(sgx):
            raise GeneralProtection("the firmware left IA32_SGXLEPUBKEYHASH to the vendor")
        words = sgx.lepubkeyhash
        eight = value.to_bytes(8, "little")
        sgx.lepubkeyhash = words[: 8 * index] + eight + words[8 * index + 8 :]
    else:
        raise GeneralProtection(f"{msr:#x} is not a register of launch control")


def is_flexible(sgx: SGX) -> bool:
    """Whether software may name the launch authority (flexible launch control)."""
    return sgx.feature_control & LOCKED != 0 and sgx.feature_control & LAUNCH_CONTROL != 0


def einit(sgx: SGX, secs_hpa: int, sigstruct: SIGSTRUCT, token: EINITTOKEN | None = None) -> None:
    """Check the finished enclave against its author's SIGSTRUCT and make it enterable.

    # Checks
    #GP alignment. #PF not EPC. Then in the SDM's order, error code in parentheses: SIGSTRUCT's
    constants (1); the RSA-3072 signature with Q1 and Q2 (8); no SECS there #PF; KSS fields
    without KSS (1); ENCLAVEHASH (4); EINITTOKENKEY (2); ATTRIBUTES under the mask (2); MISCSELECT
    under the mask (2). Without a valid token: the signer against IA32_SGXLEPUBKEYHASH (16). With
    one: made by a debug enclave for a production enclave (16); reserved bits (16); its CPUSVN
    beyond the current one (32); its MAC (16); another MRENCLAVE or MRSIGNER (4); ATTRIBUTES (2).

    # Transition
    MRENCLAVE is final; MRSIGNER, ISVPRODID and ISVSVN come from SIGSTRUCT; ATTRIBUTES.INIT is set.

    # Measurement
    None.

    Args:
        sgx: the processor.
        secs_hpa: physical address of the SECS page.
        sigstruct: the author's certificate.
        token: a launch enclave's permission; None for one whose VALID bit is clear.

    Raises:
        SGXError: a check failed; the enclave is as it was.
        PageFault: no SECS at ``secs_hpa``.
        GeneralProtection: already initialised.

    Simplified: no pending event (128). The code for other ATTRIBUTES in a token is unverified: the
    SDM names it SGX_INVALID_EINIT_ATTRIBUTE and lists no number.
    """
    sgx.require_epc_page(secs_hpa, "SECS page")
    _check_sigstruct(sgx, sigstruct)
    enclave = enclave_of(sgx, secs_hpa)
    if enclave.initialised:
        raise GeneralProtection("EINIT: the enclave is already initialised")
    signer = mrsigner(sigstruct)
    _check_identity(sgx, enclave, sigstruct, signer)
    if token is not None and token.valid & 1:
        _check_token(sgx, enclave, signer, token)
    elif signer != sgx.lepubkeyhash and sgx.checks.on(rules.EINIT_LEPUBKEYHASH):
        text = "no token, and the signer is not the one in IA32_SGXLEPUBKEYHASH"
        raise refusal(sgx.checks, rules.EINIT_LEPUBKEYHASH, "EINIT", 16, text)
    secs = enclave.secs
    enclave.secs = secs.with_(
        mrenclave=enclave.digest.digest(),
        mrsigner=signer,
        isvprodid=sigstruct.isvprodid,
        isvsvn=sigstruct.isvsvn,
        attributes=secs.attributes.with_(flags=secs.attributes.flags.with_(init=True)),
    )
    enclave.isvfamilyid, enclave.isvextprodid = sigstruct.isvfamilyid, sigstruct.isvextprodid
    enclave.initialised = True
    sgx.machine.cache.create(secs_hpa, enclave.secs.pack())
    if sgx.checks.tracer is not None:
        sgx.checks.emit(Leaf("EINIT", f"MRENCLAVE {enclave.mrenclave.hex()[:16]}..."))


def _check_sigstruct(sgx: SGX, sig: SIGSTRUCT) -> None:
    """The checks that need SIGSTRUCT alone."""
    if sig.header != HEADER or sig.header2 != HEADER2:
        raise status("EINIT", 1, "HEADER or HEADER2 is not the constant it must be")
    if sig.vendor not in (0, VENDOR_INTEL) or sig.exponent != 3:
        raise status("EINIT", 1, "VENDOR or EXPONENT is illegal")
    if sig.cet_attributes or sig.cet_attributes_mask:
        raise status("EINIT", 1, "CET_ATTRIBUTES and their mask are reserved without CET")
    try:
        verify(sig)
    except BadSigstruct as error:
        if sgx.checks.on(rules.EINIT_SIGNATURE):
            raise refusal(sgx.checks, rules.EINIT_SIGNATURE, "EINIT", 8, str(error)) from None


def _check_identity(sgx: SGX, enclave: Enclave, sig: SIGSTRUCT, signer: bytes) -> None:
    """The checks of this enclave against what was signed."""
    secs, on = enclave.secs, sgx.checks.on
    if not secs.attributes.flags.kss and (any(sig.isvfamilyid) or any(sig.isvextprodid)):
        raise status("EINIT", 1, "ISVFAMILYID and ISVEXTPRODID need KSS")
    measured = enclave.digest.digest()
    if measured != sig.enclavehash and on(rules.EINIT_MEASUREMENT):
        text = f"measured {measured.hex()[:16]}..., signed {sig.enclavehash.hex()[:16]}..."
        raise refusal(sgx.checks, rules.EINIT_MEASUREMENT, "EINIT", 4, text)
    flags, mask = secs.attributes.flags, sig.attributemask
    if flags.einittokenkey and signer != sgx.lepubkeyhash:
        raise status("EINIT", 2, "EINITTOKENKEY is for the launch enclave's signer alone")
    differ = (flags ^ sig.attributes.flags) & mask.flags
    differ |= (secs.attributes.xfrm ^ sig.attributes.xfrm) & mask.xfrm
    if differ and on(rules.EINIT_ATTRIBUTES):
        wanted, have = AttributeFlags.of(sig.attributes.flags & mask.flags), flags
        text = f"signed for {wanted!r} under its mask, launched with {have!r}"
        raise refusal(sgx.checks, rules.EINIT_ATTRIBUTES, "EINIT", 2, text)
    if (secs.miscselect ^ sig.miscselect) & sig.miscmask:
        wanted_misc = MiscSelect.of(sig.miscselect)
        raise status("EINIT", 2, f"MISCSELECT was signed as {wanted_misc!r}")


def _check_token(sgx: SGX, enclave: Enclave, signer: bytes, token: EINITTOKEN) -> None:
    """The checks of a launch enclave's permission for this enclave."""
    attributes = enclave.secs.attributes
    if token.maskedattributesle.flags.debug and not attributes.flags.debug:
        raise status("EINIT", 16, "a debug launch enclave permits debug enclaves only")
    if token.valid != 1 or token.cet_masked_attributes_le:
        raise status("EINIT", 16, "reserved bits are set: VALID[31:1], or CET's without CET")
    if is_beyond(token.cpusvnle, sgx.cpusvn):
        raise status("EINIT", 32, "the token was made with a CPUSVN beyond the current one")
    genuine = hmac.compare_digest(token.mac, cmac(launch_key(sgx, token), token.maced_bytes()))
    if not genuine and sgx.checks.on(rules.EINIT_TOKEN_MAC):
        text = "no launch enclave of this processor's launch authority made this token"
        raise refusal(sgx.checks, rules.EINIT_TOKEN_MAC, "EINIT", 16, text)
    if (token.mrenclave, token.mrsigner) != (enclave.mrenclave, signer):
        raise status("EINIT", 4, "the token is for another enclave")
    if token.attributes != attributes:
        raise status("EINIT", 2, "the token is for other ATTRIBUTES")


def launch_key(sgx: SGX, token: EINITTOKEN) -> bytes:
    """The key of the launch enclave that a token says it is from, 16 bytes."""
    record = KeyDependencies(
        keyname=KeyName.EINITTOKEN,
        isvprodid=token.isvprodidle,
        isvsvn=token.isvsvnle,
        miscselect=token.maskedmiscselectle,
        attributes=token.maskedattributesle.pack(),
        ownerepoch=sgx.ownerepoch,
        cpusvn=token.cpusvnle,
        seal_fuses=sgx.seal_fuses,
        keyid=token.keyid,
        mrsigner=sgx.lepubkeyhash,
    )
    return derive(sgx, record)
