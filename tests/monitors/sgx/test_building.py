"""ECREATE, EADD, EEXTEND and EREMOVE: what each refuses, changes and measures."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assembly import image, launch
from bench import BASE, FLAGS, GP, PF, RW, SIZE, Bench, place, secs
from tee_sim.abi.image import ALL_CHUNKS, Image, ImagePage, measure
from tee_sim.abi.sgx import (
    TCS,
    Attributes,
    MiscSelect,
    PageType,
    SecinfoFlags,
    TCSFlags,
)
from tee_sim.errors import TeeSimError
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.monitors.sgx import building, launching
from tee_sim.units import PAGE

TCS_FLAGS = SecinfoFlags(page_type=PageType.TCS)
NO_PAGE = bytes(PAGE)
TOP_OF_LOW_HALF = 1 << 47


@pytest.fixture
def bench() -> Bench:
    return Bench()


# ECREATE


def flags(**changes: bool) -> dict[str, Any]:
    return {"attributes": Attributes(flags=FLAGS.with_(**changes), xfrm=3)}


ECREATE_REFUSED = {
    "size 0": {"size": 0},
    "size of one page": {"size": PAGE},
    "size no power of two": {"size": 3 * PAGE, "baseaddr": 0},
    "base no multiple of size": {"baseaddr": BASE + SIZE // 2},
    "base not canonical": {"baseaddr": TOP_OF_LOW_HALF},
    "range ends beyond canonical": {"size": 1 << 48, "baseaddr": 0},
    "XFRM without x87": {"attributes": Attributes(flags=FLAGS, xfrm=2)},
    "XFRM without SSE": {"attributes": Attributes(flags=FLAGS, xfrm=1)},
    "XFRM with AVX": {"attributes": Attributes(flags=FLAGS, xfrm=7)},
    "no save frame": {"ssaframesize": 0},
    "INIT": flags(init=True),
    "32-bit": flags(mode64bit=False),
    "CET": flags(cet=True),
    "CET attributes": {"cet_attributes": 1},
    "CET bitmap": {"cet_leg_bitmap_offset": PAGE},
    "MISCSELECT.CPINFO": {"miscselect": MiscSelect(cpinfo=True)},
    "CONFIGID without KSS": {"configid": b"\0" * 63 + b"\1"},
    "CONFIGSVN without KSS": {"configsvn": 1},
}


@pytest.mark.parametrize("change", ECREATE_REFUSED.values(), ids=list(ECREATE_REFUSED))
def test_ecreate_refuses_an_illegal_secs_with_gp(bench: Bench, change: dict[str, Any]) -> None:
    with bench.refused(GP):
        building.ecreate(bench.sgx, bench.free, secs(**change))


LAST_RANGE = TOP_OF_LOW_HALF - SIZE
ECREATE_ALLOWED = {
    "smallest": {"size": 2 * PAGE},
    "largest base": {"baseaddr": LAST_RANGE},
    "upper half": {"baseaddr": 2**64 - SIZE},
    "base 0": {"baseaddr": 0},
    "debug": flags(debug=True),
    "CONFIGID with KSS": flags(kss=True) | {"configid": b"c" * 64, "configsvn": 2},
    "EXINFO": {"miscselect": MiscSelect(exinfo=True)},
}


@pytest.mark.parametrize("change", ECREATE_ALLOWED.values(), ids=list(ECREATE_ALLOWED))
def test_ecreate_takes_what_is_legal(bench: Bench, change: dict[str, Any]) -> None:
    enclave = building.ecreate(bench.sgx, bench.free, secs(**change))
    entry = bench.sgx.epcm[bench.free]
    assert (entry.valid, entry.page_type, entry.r, entry.w, entry.x) == (
        True,
        PageType.SECS,
        False,
        False,
        False,
    )
    assert not enclave.initialised


@pytest.mark.parametrize(
    ("where", "expected"),
    [("free + 1", GP), ("free + 2048", GP), ("secs_hpa", PF), ("page", PF), ("outside", PF)],
)
def test_ecreate_needs_a_free_page_of_the_epc(
    bench: Bench, where: str, expected: type[TeeSimError]
) -> None:
    with bench.refused(expected):
        building.ecreate(bench.sgx, place(bench, where), secs())


def test_ecreate_starts_the_identity_at_zero(bench: Bench) -> None:
    dirty = secs(mrenclave=b"m" * 32, mrsigner=b"s" * 32, isvprodid=7, isvsvn=8)
    enclave = building.ecreate(bench.sgx, bench.free, dirty)
    assert enclave.secs == secs()
    assert bench.sgx.machine.cache.view(bench.free) == secs().pack()
    assert enclave.mrenclave == measure(Image(SIZE, 1, ()))


# EADD

PENDING, MODIFIED, PR = (RW.with_(**{name: True}) for name in ("pending", "modified", "pr"))


def tcs(**fields: Any) -> bytes:
    return TCS(**{"ossa": PAGE, "nssa": 1} | fields).pack()


EADD_REFUSED = {
    "page unaligned": ({"page": "free + 16"}, GP),
    "page outside the EPC": ({"page": "outside"}, PF),
    "page behind the EPC": ({"page": "beyond"}, PF),
    "page in use": ({"page": "page"}, PF),
    "page is the SECS": ({"page": "secs_hpa"}, PF),
    "SECS unaligned": ({"owner": "secs_hpa + 8"}, GP),
    "SECS outside the EPC": ({"owner": "outside"}, PF),
    "SECS is a REG page": ({"owner": "page"}, PF),
    "SECS is free": ({"owner": "free"}, PF),
    "address unaligned": ({"offset": PAGE + 1}, GP),
    "address below ELRANGE": ({"offset": -PAGE}, GP),
    "address behind ELRANGE": ({"offset": SIZE}, GP),
    "W without R": ({"flags": SecinfoFlags(w=True, page_type=PageType.REG)}, GP),
    "PENDING": ({"flags": PENDING}, GP),
    "MODIFIED": ({"flags": MODIFIED}, GP),
    "PR": ({"flags": PR}, GP),
    "SECS page": ({"flags": RW.with_(page_type=PageType.SECS)}, GP),
    "VA page": ({"flags": RW.with_(page_type=PageType.VA)}, GP),
    "TRIM page": ({"flags": RW.with_(page_type=PageType.TRIM)}, GP),
    "shadow-stack page": ({"flags": RW.with_(page_type=PageType.SS_REST)}, GP),
    "short content": ({"content": bytes(PAGE - 1)}, GP),
    "long content": ({"content": bytes(PAGE + 1)}, GP),
    "TCS.OSSA": ({"flags": TCS_FLAGS, "content": tcs(ossa=8)}, GP),
    "TCS.OFSBASE": ({"flags": TCS_FLAGS, "content": tcs(ofsbase=16)}, GP),
    "TCS.OGSBASE": ({"flags": TCS_FLAGS, "content": tcs(ogsbase=PAGE - 1)}, GP),
    "TCS.FLAGS reserved": ({"flags": TCS_FLAGS, "content": b"\0" * 8 + b"\4" + bytes(4087)}, GP),
    "TCS reserved": ({"flags": TCS_FLAGS, "content": bytes(PAGE - 1) + b"\1"}, GP),
}


@pytest.mark.parametrize(
    ("change", "expected"), EADD_REFUSED.values(), ids=[*map(str, EADD_REFUSED)]
)
def test_eadd_refuses(bench: Bench, change: dict[str, Any], expected: type[TeeSimError]) -> None:
    page, owner = change.get("page", "free"), change.get("owner", "secs_hpa")
    with bench.refused(expected):
        building.eadd(
            bench.sgx,
            place(bench, page),
            place(bench, owner),
            BASE + change.get("offset", PAGE),
            change.get("flags", RW),
            change.get("content", NO_PAGE),
        )


def test_eadd_after_einit_is_refused(bench: Bench) -> None:
    launching.einit(bench.sgx, bench.secs_hpa, bench.signed())
    with bench.refused(GP):
        building.eadd(bench.sgx, bench.free, bench.secs_hpa, BASE + PAGE, RW, NO_PAGE)


def test_eadd_clears_what_only_the_processor_sets_in_a_tcs(bench: Bench) -> None:
    dirty = {"state": 9, "cssa": 3, "aep": 0x1234, "nssa": 2, "oentry": 0x40}
    content = tcs(**dirty, flags=TCSFlags(dbgoptin=True))
    asked = SecinfoFlags(r=True, w=True, x=True, page_type=PageType.TCS)
    building.eadd(bench.sgx, bench.free, bench.secs_hpa, BASE + PAGE, asked, content)
    entry = bench.sgx.epcm[bench.free]
    assert (entry.r, entry.w, entry.x) == (False, False, False)
    loaded = bytes(bench.sgx.machine.cache.view(bench.free))
    assert TCS.unpack(loaded) == TCS(ossa=PAGE, nssa=2, oentry=0x40)


@pytest.mark.parametrize("rights", [0, 1, 3, 4, 5, 7])
def test_the_rights_asked_for_are_in_the_epcm(bench: Bench, rights: int) -> None:
    asked = SecinfoFlags.of(rights | PageType.REG << 8)
    building.eadd(bench.sgx, bench.free, bench.secs_hpa, BASE + PAGE, asked, NO_PAGE)
    entry = bench.sgx.epcm[bench.free]
    assert entry.r + 2 * entry.w + 4 * entry.x == rights
    assert (entry.enclavesecs, entry.enclaveaddress) == (bench.secs_hpa, BASE + PAGE)


# EEXTEND


@pytest.mark.parametrize(
    ("where", "chunks", "expected"),
    [
        ("page + 1", 1, GP),
        ("page + 128", 1, GP),
        ("page", 0, GP),
        ("page", 17, GP),
        ("page + 3840", 2, GP),
        ("outside", 1, PF),
        ("beyond", 1, PF),
        ("free", 1, PF),
        ("secs_hpa", 1, PF),
    ],
)
def test_eextend_refuses(
    bench: Bench, where: str, chunks: int, expected: type[TeeSimError]
) -> None:
    before = bench.state()
    with pytest.raises(expected):
        building.eextend(bench.sgx, place(bench, where), chunks)
    assert bench.state() == before


def test_eextend_after_einit_is_refused(bench: Bench) -> None:
    launching.einit(bench.sgx, bench.secs_hpa, bench.signed())
    with bench.refused(GP):
        building.eextend(bench.sgx, bench.page)


# EREMOVE


@pytest.mark.parametrize(
    ("where", "expected"),
    [("page + 8", GP), ("outside", PF), ("beyond", PF), ("secs_hpa", 13)],
)
def test_eremove_refuses(bench: Bench, where: str, expected: type[TeeSimError] | int) -> None:
    with bench.refused(expected):
        building.eremove(bench.sgx, place(bench, where))


def test_eremove_of_a_free_page_changes_nothing(bench: Bench) -> None:
    before = bench.state()
    building.eremove(bench.sgx, bench.free)
    assert bench.state() == before


def test_eremove_frees_the_pages_then_the_secs(bench: Bench) -> None:
    building.eremove(bench.sgx, bench.page)
    assert not bench.sgx.epcm[bench.page].valid
    building.eremove(bench.sgx, bench.secs_hpa)
    assert not bench.sgx.epcm[bench.secs_hpa].valid
    assert not bench.sgx.enclaves
    building.ecreate(bench.sgx, bench.page, secs())


def test_eremove_of_a_page_is_refused_while_a_thread_runs_in_its_enclave() -> None:
    bench = Bench()
    guest = launch(bench.platform, b"\xeb\xfe")
    calls = guest.steps(0, quantum=10)
    next(calls)
    for hpa in guest.pages.values():
        with bench.refused(14):
            building.eremove(bench.sgx, hpa)
    with bench.refused(13):
        building.eremove(bench.sgx, guest.secs_hpa)
    building.eremove(bench.sgx, bench.page)
    calls.close()
    for hpa in guest.pages.values():
        building.eremove(bench.sgx, hpa)
    building.eremove(bench.sgx, guest.secs_hpa)


# Measurement


@st.composite
def images(draw: st.DrawFn) -> Image:
    size = draw(st.sampled_from([2 * PAGE, 8 * PAGE, 64 * PAGE]))
    offsets = draw(st.lists(st.integers(0, size // PAGE - 1), min_size=0, max_size=5, unique=True))
    return Image(
        size,
        draw(st.integers(1, 3)),
        tuple(draw(pages(PAGE * index)) for index in offsets),
    )


@st.composite
def pages(draw: st.DrawFn, offset: int) -> ImagePage:
    measured = draw(st.one_of(st.just(ALL_CHUNKS), st.integers(0, ALL_CHUNKS)))
    r, x = draw(st.booleans()), draw(st.booleans())
    w = r and draw(st.booleans())
    if draw(st.booleans()):
        byte = draw(st.binary(min_size=1, max_size=8))
        content = (byte * PAGE)[:PAGE]
        return ImagePage(offset, PageType.REG, r, w, x, content, measured)
    word = st.integers(0, 2**32 - 1)
    content = TCS(
        state=draw(word),
        flags=TCSFlags(dbgoptin=draw(st.booleans()), aexnotify=draw(st.booleans())),
        ossa=PAGE * draw(st.integers(0, 9)),
        cssa=draw(word),
        nssa=draw(word),
        oentry=draw(word),
        aep=draw(word),
        ofsbase=PAGE * draw(st.integers(0, 9)),
    ).pack()
    return ImagePage(offset, PageType.TCS, r, w, x, content, measured)


SHARED = Bench()


def load(loaded: Image, **changes: Any) -> SGXGuest:
    driver = SHARED.driver
    return SGXGuest(SHARED.platform.host, driver, loaded, None, **changes)


@settings(max_examples=60)
@given(images())
def test_the_processor_measures_what_the_author_computes(loaded: Image) -> None:
    guest = load(loaded)
    assert guest.mrenclave == measure(loaded)
    for page in loaded.pages:
        held = bytes(SHARED.sgx.machine.cache.view(guest.pages[page.offset]))
        assert held == page.epc_content
    guest.close()


SAMPLE = image(b"\x90\xc3", data=b"some data")


def mrenclave(loaded: Image = SAMPLE, **changes: Any) -> bytes:
    guest = load(loaded, **changes)
    measured = guest.mrenclave
    guest.close()
    return measured


@pytest.mark.parametrize("base", [0, 0x4000_0000, 0x7FFF_0000_0000, 2**64 - 2**20])
def test_the_base_address_is_not_measured(base: int) -> None:
    assert mrenclave(base=base) == measure(SAMPLE)


@pytest.mark.parametrize("name", ["debug", "provisionkey", "einittokenkey", "kss"])
def test_attributes_are_not_measured(name: str) -> None:
    attributes = Attributes(flags=FLAGS.with_(**{name: True}), xfrm=3)
    assert mrenclave(attributes=attributes) == measure(SAMPLE)


def test_miscselect_and_configid_are_not_measured(bench: Bench) -> None:
    kss = flags(kss=True) | {"configid": b"c" * 64, "configsvn": 1}
    for change in ({"miscselect": MiscSelect(exinfo=True)}, kss):
        enclave = building.ecreate(bench.sgx, bench.free, secs(**change))
        assert enclave.mrenclave == measure(Image(SIZE, 1, ()))
        building.eremove(bench.sgx, bench.free)


def changed(index: int = 0, **changes: Any) -> Image:
    page = SAMPLE.pages[index]
    values = {name: getattr(page, name) for name in ("offset", "page_type", "r", "w", "x")}
    values |= {"content": page.content, "measured": page.measured} | changes
    new = (*SAMPLE.pages[:index], ImagePage(**values), *SAMPLE.pages[index + 1 :])
    return Image(SAMPLE.size, SAMPLE.ssaframesize, new)


MEASURED = {
    "page order": Image(SAMPLE.size, 1, (SAMPLE.pages[1], SAMPLE.pages[0], *SAMPLE.pages[2:])),
    "size": Image(2 * SAMPLE.size, 1, SAMPLE.pages),
    "frame size": Image(SAMPLE.size, 2, SAMPLE.pages),
    "one page less": Image(SAMPLE.size, 1, SAMPLE.pages[:-1]),
    "right to write": changed(w=True),
    "right to execute": changed(x=False),
    "content": changed(content=SAMPLE.pages[0].content[:-1] + b"\1"),
    "place": changed(offset=PAGE),
    "last chunk left out": changed(measured=0x7FFF),
    "TCS.OENTRY": changed(2, content=TCS.unpack(SAMPLE.pages[2].content).with_(oentry=1).pack()),
}


@pytest.mark.parametrize("other", MEASURED.values(), ids=list(MEASURED))
def test_what_the_author_decides_is_measured(other: Image) -> None:
    assert mrenclave(other) == measure(other) != measure(SAMPLE)


def test_content_that_is_not_extended_is_not_measured() -> None:
    hidden = changed(measured=0x7FFF)
    other = changed(measured=0x7FFF, content=SAMPLE.pages[0].content[:-1] + b"\1")
    assert mrenclave(other) == mrenclave(hidden)


def test_chunks_are_measured_in_the_order_of_eextend(bench: Bench) -> None:
    sums = []
    for order in ((8, 9), (9, 8), (8, 8)):
        fresh = Bench()
        for chunk in order:
            building.eextend(fresh.sgx, fresh.page + 256 * chunk)
        sums.append(fresh.enclave.mrenclave)
    assert len(set(sums)) == 3
