"""The event log and the TPM's structures: round trips, and hostile bytes."""

import hashlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tee_sim.abi import boot_log, tpm
from tee_sim.abi.boot_log import Event
from tee_sim.errors import LayoutError

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
DIGESTS = st.binary(min_size=32, max_size=32)
EVENTS = st.lists(st.builds(Event, U32, U32, DIGESTS, st.binary(max_size=40)), max_size=5)
TAGS = st.lists(st.tuples(U32, st.binary(max_size=20)), max_size=5)
QUOTES = st.builds(
    tpm.Quote,
    st.binary(min_size=34, max_size=34),
    st.binary(max_size=64),
    st.sets(st.integers(0, 23)).map(lambda pcrs: tuple(sorted(pcrs))),
    DIGESTS,
    U64,
    U32,
    U32,
    st.integers(0, 1),
    U64,
)
EVIDENCE = st.builds(tpm.BootEvidence, *[st.binary(max_size=30)] * 5)
RSA = st.tuples(st.integers(1, 2**32), st.integers(1, 2**256))
P256 = st.binary(min_size=64, max_size=64)

# name: values, how they are written, how they are read
FORMATS = {
    "log": (EVENTS, boot_log.pack_log, boot_log.read_log),
    "tags": (TAGS, boot_log.pack_tags, boot_log.read_tags),
    "rsa": (RSA, lambda pair: boot_log.pack_rsa(*pair), boot_log.read_rsa),
    "quote": (QUOTES, tpm.Quote.pack, tpm.read_quote),
    "signature": (P256, tpm.pack_signature, tpm.read_signature),
    "evidence": (EVIDENCE, tpm.BootEvidence.pack, tpm.BootEvidence.unpack),
}


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_what_was_written_is_read_and_changed_bytes_are_read_or_refused(
    name: str, data: st.DataObject
) -> None:
    values, pack, read = FORMATS[name]
    value = data.draw(values)
    packed = pack(value)
    assert read(packed) == value
    changed = bytearray(packed) or bytearray(1)
    for where, byte in data.draw(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)))):
        changed[where % len(changed)] = byte
    for hostile in (bytes(changed), packed + b"\0", data.draw(st.binary(max_size=200))):
        with suppress(LayoutError):
            assert pack(read(hostile)) == hostile


def test_pcrs_follow_from_the_order_of_events() -> None:
    one, two = (Event(4, 6, bytes([i]) * 32, b"") for i in (1, 2))
    step = hashlib.sha256(bytes(32) + one.digest).digest()
    value = hashlib.sha256(step + two.digest).digest()
    assert boot_log.replay([one, two], [4]) == hashlib.sha256(value).digest()
    assert boot_log.replay([one, two], [4, 5]) == hashlib.sha256(value + bytes(32)).digest()
    assert boot_log.replay([two, one], [4]) != boot_log.replay([one, two], [4])


def covered(pcr: int, kind: int, data: bytes) -> Event:
    return Event(pcr, kind, hashlib.sha256(data).digest(), data)


def module(name: str) -> bytes:
    values = name.encode("utf-16-le"), bytes(8), b"\x0c\x80\0\0", bytes(32), bytes(4)
    tags = boot_log.pack_tags(zip(boot_log.MODULE, values, strict=True))
    inner = boot_log.pack_tags([(boot_log.Tag.LOADEDMODULE_AGGREGATION, tags)])
    return boot_log.pack_tags([(boot_log.Tag.TRUSTBOUNDARY, inner)])


def boot() -> list[Event]:
    facts = {**boot_log.SETTINGS, boot_log.Tag.VSM_IDKS_INFO: boot_log.pack_rsa(3, 77)}
    tags = boot_log.pack_tags([(boot_log.Tag.TRUSTBOUNDARY, boot_log.pack_tags(facts.items()))])
    return [
        Event(0, boot_log.FIRMWARE, b"f" * 32, bytes(16)),
        covered(0, boot_log.SEPARATOR, bytes(4)),
        covered(4, boot_log.SEPARATOR, bytes(4)),
        Event(4, boot_log.APPLICATION, b"m" * 32, bytes(32)),
        covered(7, boot_log.VARIABLE, boot_log.SECURE_BOOT + b"\1"),
        covered(7, boot_log.SEPARATOR, bytes(4)),
        covered(12, boot_log.EVENT_TAG, tags),
        covered(12, boot_log.SEPARATOR, b"WBCL"),
        covered(13, boot_log.EVENT_TAG, module("a")),
        covered(13, boot_log.EVENT_TAG, module("b")),
        covered(13, boot_log.SEPARATOR, b"WBCL"),
    ]


def test_a_whole_boot_is_read() -> None:
    found = boot_log.read_boot(boot())
    assert found.secure_boot
    assert found.idks == (3, 77)
    assert list(found.measurements) == ["firmware", "boot manager", "a", "b"]


@pytest.mark.parametrize("which", [i for i in range(len(boot())) if i not in (8, 9)])
def test_a_boot_with_an_event_missing_is_refused(which: int) -> None:
    with pytest.raises(LayoutError):
        boot_log.read_boot(boot()[:which] + boot()[which + 1 :])


@pytest.mark.parametrize("which", range(len(boot())))
@pytest.mark.parametrize("kind", [boot_log.SEPARATOR, boot_log.EVENT_TAG, 3, boot_log.FIRMWARE])
def test_a_boot_with_an_event_of_another_type_is_refused(which: int, kind: int) -> None:
    events = boot()
    if events[which].kind == kind:
        return
    events[which] = events[which]._replace(kind=kind)
    with pytest.raises(LayoutError):
        boot_log.read_boot(events)


@pytest.mark.parametrize(
    ("where", "event", "match"),
    [
        (11, covered(14, 6, b""), "PCRs"),
        (2, covered(0, boot_log.SEPARATOR, bytes(4)), "types"),
        (8, covered(12, boot_log.EVENT_TAG, b""), None),
        (8, covered(13, boot_log.EVENT_TAG, module("b")), "twice"),
        (8, covered(13, boot_log.EVENT_TAG, module("firmware")), "twice"),
        (8, covered(13, boot_log.EVENT_TAG, b""), "tagged"),
        (8, covered(13, boot_log.EVENT_TAG, b"xyz"), "fill"),
    ],
)
def test_an_event_too_many_is_refused_unless_it_follows_the_boots_separator(
    where: int, event: Event, match: str | None
) -> None:
    events = boot()
    events.insert(where, event)
    if match is None:
        assert boot_log.read_boot(events) == boot_log.read_boot(boot())
    else:
        with pytest.raises(LayoutError, match=match):
            boot_log.read_boot(events)


@pytest.mark.parametrize("which", range(len(boot())))
def test_data_that_the_digest_does_not_cover_is_refused(which: int) -> None:
    events = boot()
    *start, last = events[which].data
    events[which] = events[which]._replace(data=bytes([*start, last ^ 1]))
    with pytest.raises(LayoutError):
        boot_log.read_boot(events)


@pytest.mark.parametrize("which", [i for i, e in enumerate(boot()) if e.kind == 4])
def test_a_separator_that_says_something_else_is_refused(which: int) -> None:
    events = boot()
    events[which] = covered(events[which].pcr, boot_log.SEPARATOR, b"\xff" * 4)
    with pytest.raises(LayoutError, match="not what it says"):
        boot_log.read_boot(events)
