"""The Verifier and `dcap-qvl` agree on mutated evidence, but for differences that are listed here.

`test_differences` pins each difference with evidence that is made for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attest.forge import AT, TD, Forge, identity, level, part, td15
from attest.oracle import SOURCES, Source, forged, load, ours, theirs, verdict
from tee_sim.attest.collateral import Collateral
from tee_sim.attest.results import AttestationResult
from tee_sim.attest.tcb import LEVEL_STATUSES
from tee_sim.errors import LayoutError

MUTATIONS = 2000
FIELDS = tuple(f.name for f in fields(Collateral) if f.name != "pck_certificate_chain")
CHAIN_CHECKS = {"CERTIFICATES", "CHAIN", "ROOT"}


@st.composite
def edited(draw: st.DrawFn, data: bytes) -> bytes:
    """A few bytes changed, removed, repeated or put in."""
    start = draw(st.integers(0, len(data) - 1))
    size = draw(st.integers(1, 4))
    new = draw(
        st.one_of(
            st.binary(min_size=size, max_size=size),
            st.integers(0, 7).map(lambda bit: bytes([data[start] ^ 1 << bit])),
            st.just(b""),
            st.just(data[start : start + size] * 2),
        )
    )
    return data[:start] + new + data[start + (len(new) if len(new) <= size else size) :]


@st.composite
def mutations(draw: st.DrawFn, name: str) -> Source:
    case = load(name)
    part = draw(st.sampled_from(("quote", "quote", "at", "root", "other", *FIELDS)))
    if part == "quote":
        return case._replace(quote=draw(edited(case.quote)))
    if part == "at":
        return case._replace(at=draw(st.integers(0, 2**34)))
    if part == "root":
        return case._replace(root=load(draw(st.sampled_from(sorted(SOURCES)))).root)
    if part == "other":
        other = load(draw(st.sampled_from(sorted(SOURCES)))).collateral
        field = draw(st.sampled_from(FIELDS))
        change: dict[str, Any] = {field: getattr(other, field)}
        return case._replace(collateral=replace(case.collateral, **change))
    value = getattr(case.collateral, part)
    raw = value if isinstance(value, bytes) else value.encode()
    new = draw(edited(raw))
    change = {part: new if isinstance(value, bytes) else new.decode("utf-8", "replace")}
    return case._replace(collateral=replace(case.collateral, **change))


def differences(case: Source, result: AttestationResult | LayoutError) -> Iterator[str]:
    """The listed reasons why the two may differ about a mutation."""
    if isinstance(result, LayoutError):
        if "bytes are left over" in str(result):
            yield "dcap-qvl ignores bytes at the end of the signature data"
        return
    failed = {check.name for check in result.failed} - {"ROOT_CRL.SIGNATURE"}
    if failed and {name.partition(".")[2] for name in failed} <= CHAIN_CHECKS:
        yield "dcap-qvl does not look at the roots in chains, nor at what follows"


@pytest.mark.parametrize("name", SOURCES)
def test_mutated_evidence_is_judged_alike(name: str) -> None:
    @settings(
        max_examples=MUTATIONS // len(SOURCES),
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutations(name))
    def judged_alike(case: Source) -> None:
        result = ours(case)
        mine, other = verdict(result), theirs(case)
        if mine != other.partition(":")[0]:
            assert list(differences(case, result)), (mine, other, result)

    judged_alike()


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_not_mutated_is_accepted_by_both(name: str) -> None:
    assert verdict(ours(load(name))) == theirs(load(name)) != "refused"


SVNS = st.tuples(*[st.integers(2, 4)] * 2).map(lambda first: (*first, *(3,) * 14))
"""Security versions around those of the platform, which are 3."""
PARTS = ("UpToDate", "UpToDate", "OutOfDate", "OutOfDate", "Revoked")


@st.composite
def levels(draw: st.DrawFn, tdx: bool) -> list[Any]:
    """Levels, highest first; what Intel says of the lowest, nobody is below."""
    keys = st.tuples(SVNS, st.integers(10, 12))
    rows = sorted(draw(st.sets(keys, max_size=4)) | {((0,) * 16, 1)}, reverse=True)
    made = []
    for svns, pcesvn in rows:
        own = [(0,) * 16, (9, 9, 3, *(0,) * 13), (0, 0, 4, *(0,) * 13)] if svns[0] else [(0,) * 16]
        more = {"tdx": draw(st.sampled_from(own))} if tdx else {}
        status = draw(st.sampled_from(LEVEL_STATUSES))
        made.append(level(svns, pcesvn, status, f"INTEL-SA-{len(made)}", **more))
    return made


@st.composite
def forges(draw: st.DrawFn) -> Forge:
    """Platforms, quoting enclaves and TDX modules on all kinds of levels, properly signed."""
    parts = st.lists(st.sampled_from(PARTS), min_size=2, max_size=3)
    enclave = [part(9 - n, status, f"QE-{n}") for n, status in enumerate(draw(parts))]
    tdx = draw(st.booleans())
    info: dict[str, Any] = {"tcbLevels": draw(levels(tdx))}
    if not tdx:
        return Forge(tcb_info=info, qe_identity={"tcbLevels": enclave})
    module = [part(6 - n, status, f"MODULE-{n}") for n, status in enumerate(draw(parts))]
    info["tdxModuleIdentities"] = [identity("TDX_01", *module)]
    body = draw(st.sampled_from([TD, td15()]))
    return Forge(body, 5, tcb_info=info, qe_identity={"tcbLevels": enclave})


@settings(max_examples=150, deadline=None, derandomize=True)
@given(forges())
def test_platforms_on_any_level_are_judged_alike(forge: Forge) -> None:
    case = forged(forge)
    assert verdict(ours(case)) == theirs(case).partition(":")[0]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    st.sampled_from(["ca", "pck", "signing", "root crl", "ca crl"]),
    st.integers(-2, 2),
    st.booleans(),
)
def test_times_around_the_limits_are_judged_alike(who: str, distance: int, end: bool) -> None:
    forge = Forge(**{"ends" if end else "starts": {who: AT + distance}})
    case = forged(forge)
    if "crl" in who and ((end and distance == 0) or (not end and distance > 0)):
        return  # pinned in test_differences
    assert verdict(ours(case)) == theirs(case).partition(":")[0]
