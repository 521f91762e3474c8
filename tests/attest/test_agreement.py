"""The Verifier and `dcap-qvl` agree on mutated evidence, but for differences that are listed here.

`test_differences` pins each difference with evidence that is made for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache
from typing import Any, NamedTuple

import dcap_qvl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attest.forge import AT, TD, Forge, td15
from tee_sim.attest.collateral import Collateral
from tee_sim.attest.results import AttestationResult
from tee_sim.attest.verifier import verify_quote
from tee_sim.errors import LayoutError
from vectors import vector

MUTATIONS = 2000
CHAINS = ("tcb_info_issuer_chain", "qe_identity_issuer_chain")
FIELDS = tuple(f.name for f in fields(Collateral) if f.name != "pck_certificate_chain")
CHAIN_CHECKS = {"CERTIFICATES", "CHAIN", "ROOT"}


class Source(NamedTuple):
    quote: bytes
    collateral: Collateral
    root: bytes | None
    at: int


def real(name: str, at: int) -> Source:
    collateral = Collateral.from_json(vector(f"dcap/{name}_quote_collateral.json"))
    return Source(vector(f"dcap/{name}_quote"), collateral, None, at)


def forged(forge: Forge) -> Source:
    return Source(forge.quote(), forge.collateral(), forge.root, AT)


SOURCES = {
    "real SGX": lambda: real("sgx", 1752919277),
    "real TDX": lambda: real("tdx", 1752919234),
    "forged SGX": lambda: forged(Forge()),
    "forged TDX 1.5": lambda: forged(Forge(td15(), 5)),
}
load = cache(lambda name: SOURCES[name]())


def theirs(case: Source) -> str:
    """dcap-qvl's status, or why it refuses."""
    try:
        collateral = dcap_qvl.QuoteCollateralV3.from_json(case.collateral.to_json())
        if case.root is None:
            report = dcap_qvl.verify(case.quote, collateral, case.at)
        else:
            report = dcap_qvl.verify_with_root_ca(case.quote, collateral, case.root, case.at)
    except (ValueError, OverflowError) as error:
        return f"refused: {error}"
    return f"{report.status} {sorted(report.advisory_ids)}"


def ours(case: Source) -> AttestationResult | LayoutError:
    try:
        return verify_quote(case.quote, case.collateral, root=case.root, at=case.at)
    except LayoutError as error:
        return error


def verdict(result: AttestationResult | LayoutError) -> str:
    if isinstance(result, LayoutError) or not result.accepted:
        return "refused"
    return f"{result.status} {list(result.advisories)}"


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
    if isinstance(result, AttestationResult):
        failed = {check.name.partition(".")[2] for check in result.failed}
        if failed and failed <= CHAIN_CHECKS:
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
