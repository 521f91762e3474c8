"""The event log of a measured boot, as firmware and Windows write it.

Whoever starts a program first *measures* it: extends a PCR of the TPM by its digest, and appends
an event to this log, so that a Verifier can tell how the PCR came to its value. The log lies in
ordinary memory. Only what the PCRs confirm is worth something: the digests, and the data that they
cover; not an event's type. What follows a separator comes from the program that was started.

====  ==========================================  ==========================================
PCR   what is measured                            by events
====  ==========================================  ==========================================
0     the firmware                                EV_EFI_PLATFORM_FIRMWARE_BLOB, separator
4     the boot manager                            separator, EV_EFI_BOOT_SERVICES_APPLICATION
7     whether Secure Boot is on                   EV_EFI_VARIABLE_DRIVER_CONFIG, separator
12    settings, and the key that signs reports    EV_EVENT_TAG, separator ``WBCL``
13    loader, hypervisor, kernels                 EV_EVENT_TAG for each, separator ``WBCL``
====  ==========================================  ==========================================

Sources: TCG PC Client Platform Firmware Profile, "Event Logging"; Microsoft's ``wbcl.h``; for the
content of PCR 12 and 13 and their separator, google/go-attestation, ``win_events.go``. Unverified:
the sizes of HYPERVISOR_DEBUG, both LAUNCH_TYPEs and MODULE_SVN, and the number that means RSA.

Simplified: a log has one bank, SHA-256, and the events above only. Addresses and device paths,
which no digest covers, are zero. Windows measures authorities (PCR 14) and BitLocker (PCR 11) too.
"""

import hashlib
import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from tee_sim.abi.tpm import ALG_SHA256
from tee_sim.errors import LayoutError

SEPARATOR, EVENT_TAG = 0x00000004, 0x00000006
VARIABLE, APPLICATION, FIRMWARE = 0x80000001, 0x80000003, 0x80000008

UNCOVERED: Final = {FIRMWARE: bytes(16), APPLICATION: bytes(32)}
"""Event data without a digest: UEFI_PLATFORM_FIRMWARE_BLOB and UEFI_IMAGE_LOAD_EVENT."""

SEQUENCES: Final = {
    0: [FIRMWARE, SEPARATOR],
    4: [SEPARATOR, APPLICATION],
    7: [VARIABLE, SEPARATOR],
    12: [EVENT_TAG, SEPARATOR],
    13: [EVENT_TAG, SEPARATOR],
}
"""The PCRs that a boot extends, and the types of the events in each; PCR 13 has several tags."""

NO_WBCL, WBCL = bytes(4), b"WBCL"
"""A separator's data: in the firmware's PCRs, and in those of Windows."""

_GLOBAL_VARIABLE: Final = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")
SECURE_BOOT = _GLOBAL_VARIABLE + struct.pack("<QQ", 10, 1) + "SecureBoot".encode("utf-16-le")
"""UEFI_VARIABLE_DATA of the variable SecureBoot, without its value, one byte."""


class Tag(IntEnum):
    """What a tagged event says: SIPAEVENT_* in ``wbcl.h``."""

    BOOTDEBUGGING = 0x00040001
    OSKERNELDEBUG = 0x00050001
    CODEINTEGRITY = 0x00050002
    TESTSIGNING = 0x00050003
    HYPERVISOR_LAUNCH_TYPE = 0x0005000A
    HYPERVISOR_DEBUG = 0x0005000D
    VSM_LAUNCH_TYPE = 0x00050012
    VSM_IDKS_INFO = 0x00050023
    FILEPATH = 0x00070001
    IMAGESIZE = 0x00070002
    HASHALGORITHMID = 0x00070003
    AUTHENTICODEHASH = 0x00070004
    MODULE_SVN = 0x0007000B
    TRUSTBOUNDARY = 0x40010001
    LOADEDMODULE_AGGREGATION = 0x40010003


SETTINGS: Final = {
    Tag.BOOTDEBUGGING: b"\0",
    Tag.OSKERNELDEBUG: b"\0",
    Tag.CODEINTEGRITY: b"\1",
    Tag.TESTSIGNING: b"\0",
    Tag.HYPERVISOR_LAUNCH_TYPE: b"\1" + bytes(7),
    Tag.HYPERVISOR_DEBUG: b"\0",
    Tag.VSM_LAUNCH_TYPE: b"\1" + bytes(7),
}
"""The settings in PCR 12, and the secure value of each."""

MODULE: Final = (
    Tag.FILEPATH,
    Tag.IMAGESIZE,
    Tag.HASHALGORITHMID,
    Tag.AUTHENTICODEHASH,
    Tag.MODULE_SVN,
)
"""What PCR 13 says of a module, in this order."""

CALG_SHA_256 = 0x800C
_ALG_RSA = 1
_SPEC_ID = b"Spec ID Event03\0" + struct.pack("<IBBBBIHHB", 0, 0, 2, 0, 2, 1, ALG_SHA256, 32, 0)
_HEADER = struct.pack("<II20sI", 0, 3, bytes(20), len(_SPEC_ID)) + _SPEC_ID
_EVENT2 = struct.Struct("<IIIH32sI")  # PCR, type, banks, algorithm, digest, bytes of data


class Event(NamedTuple):
    """TCG_PCR_EVENT2: the PCR, the type, the digest that extended the PCR, and data."""

    pcr: int
    kind: int
    digest: bytes
    data: bytes


def pack_log(events: Iterable[Event]) -> bytes:
    """A log in the crypto-agile format: TCG_PCR_EVENT, which describes it, then the events."""
    return _HEADER + b"".join(
        _EVENT2.pack(event.pcr, event.kind, 1, ALG_SHA256, event.digest, len(event.data))
        + event.data
        for event in events
    )


def read_log(data: bytes) -> list[Event]:
    """The events of a log; `pack_log` gives the same bytes again.

    Raises:
        LayoutError: another header or bank, or it is cut.
    """
    events, start = [], len(_HEADER)
    while start < len(data):
        head = data[start : start + _EVENT2.size].ljust(_EVENT2.size, b"\0")
        pcr, kind, _, _, digest, size = _EVENT2.unpack(head)
        start += _EVENT2.size + size
        events.append(Event(pcr, kind, digest, data[start - size : start]))
    if pack_log(events) != data:
        raise LayoutError("no event log with one bank of SHA-256, or it is cut")
    return events


def replay(events: Iterable[Event], pcrs: Iterable[int]) -> bytes:
    """SHA-256 over the values that events give some PCRs, from zero; a quote holds the same."""
    values: dict[int, bytes] = {}
    for event in events:
        values[event.pcr] = extended(values.get(event.pcr, bytes(32)), event.digest)
    return hashlib.sha256(b"".join(values.get(pcr, bytes(32)) for pcr in pcrs)).digest()


def extended(pcr: bytes, digest: bytes) -> bytes:
    """What a PCR holds after TPM2_PCR_Extend."""
    return hashlib.sha256(pcr + digest).digest()


def pack_tags(tags: Iterable[tuple[int, bytes]]) -> bytes:
    """TCG_PCClientTaggedEventStruct, one behind the other."""
    return b"".join(struct.pack("<II", tag, len(data)) + data for tag, data in tags)


def read_tags(data: bytes) -> list[tuple[int, bytes]]:
    """The tagged events in some data; `pack_tags` gives the same bytes again.

    Raises:
        LayoutError: they do not fill it exactly.
    """
    tags, start = [], 0
    while start < len(data):
        tag, size = struct.unpack("<II", data[start : start + 8].ljust(8, b"\0"))
        start += 8 + size
        tags.append((tag, data[start - size : start]))
    if pack_tags(tags) != data:
        raise LayoutError(f"tagged events do not fill {len(data)} bytes")
    return tags


def pack_rsa(exponent: int, modulus: int) -> bytes:
    """SIPAEVENT_VSM_IDK_INFO_PAYLOAD: sizes, then both numbers, big-endian."""
    e, n = (v.to_bytes((v.bit_length() + 7) // 8, "big") for v in (exponent, modulus))
    return struct.pack("<IIII", _ALG_RSA, modulus.bit_length(), len(e), len(n)) + e + n


def read_rsa(data: bytes) -> tuple[int, int]:
    """Exponent and modulus; `pack_rsa` gives the same bytes again.

    Raises:
        LayoutError: it is no RSA key.
    """
    split = 16 + int.from_bytes(data[8:12], "little")
    e, n = int.from_bytes(data[16:split], "big"), int.from_bytes(data[split:], "big")
    if pack_rsa(e, n) != data:
        raise LayoutError("VSM_IDKS_INFO holds no RSA key")
    return e, n


class Boot(NamedTuple):
    """What a log says of a boot.

    Attributes:
        measurements: SHA-256 of each component; ``firmware`` and ``boot manager`` have no other
            name, the rest that of the log.
        svns: security version of each component that has a name.
        settings: as in `SETTINGS`.
        secure_boot: whether the firmware started signed programs only.
        idks: exponent and modulus of the key that signs reports.
    """

    measurements: dict[str, bytes]
    svns: dict[str, int]
    settings: dict[Tag, bytes]
    secure_boot: bool
    idks: tuple[int, int]


def read_boot(events: Iterable[Event]) -> Boot:
    """What the events of a log say, as far as their digests cover it.

    Raises:
        LayoutError: one is missing, unexpected or malformed, or its digest does not cover it.
    """
    told: dict[int, list[Event]] = {}
    for event in events:
        told.setdefault(event.pcr, []).append(event)
    if told.keys() != SEQUENCES.keys():
        raise LayoutError(f"events of PCRs {sorted(told)}, not of {list(SEQUENCES)}")
    for pcr, kinds in SEQUENCES.items():
        _checked(pcr, told[pcr], kinds)
    measurements = {"firmware": told[0][0].digest, "boot manager": told[4][1].digest}
    svns: dict[str, int] = {}
    for event in told[13][:-1]:
        (aggregation,) = _values(event.data, [Tag.TRUSTBOUNDARY])
        (module,) = _values(aggregation, [Tag.LOADEDMODULE_AGGREGATION])
        path, _, _, digest, svn = _values(module, MODULE)
        name = path.decode("utf-16-le", "replace")
        if name in measurements:
            raise LayoutError(f"{name} is measured twice")
        measurements[name], svns[name] = digest, int.from_bytes(svn, "little")
    (boundary,) = _values(told[12][0].data, [Tag.TRUSTBOUNDARY])
    *values, idks = _values(boundary, [*SETTINGS, Tag.VSM_IDKS_INFO])
    settings = dict(zip(SETTINGS, values, strict=True))
    secure_boot = told[7][0].data == SECURE_BOOT + b"\1"
    return Boot(measurements, svns, settings, secure_boot, read_rsa(idks))


def _checked(pcr: int, events: list[Event], kinds: list[int]) -> None:
    """Refuse events of a PCR that are not as `SEQUENCES` says, or not covered by their digests."""
    if pcr >= 12:  # what a separator ends; what comes later is not the boot's
        end = next((i for i, event in enumerate(events) if event.kind == SEPARATOR), 0)
        del events[end + 1 :]
    if pcr == 13:
        kinds = [EVENT_TAG] * (len(events) - 1) + [SEPARATOR]
    found = [event.kind for event in events]
    if found != kinds:
        raise LayoutError(f"events of types {found} in PCR {pcr}, not {kinds}")
    separator = WBCL if pcr >= 12 else NO_WBCL
    for event in events:
        data = {**UNCOVERED, SEPARATOR: separator}.get(event.kind, event.data)
        covered = event.kind in UNCOVERED or hashlib.sha256(data).digest() == event.digest
        if event.data != data or not covered:
            raise LayoutError(f"an event of type {event.kind:#x} in PCR {pcr} is not what it says")


def _values(data: bytes, wanted: Sequence[int]) -> list[bytes]:
    """The data of tagged events, which have to be these and no others."""
    tags = read_tags(data)
    if [tag for tag, _ in tags] != list(wanted):
        raise LayoutError(f"tagged events {[hex(tag) for tag, _ in tags]} where others belong")
    return [value for _, value in tags]
