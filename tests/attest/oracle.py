"""`dcap-qvl` as an oracle: what it, and what we, make of the same evidence."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import dcap_qvl

from attest.forge import AT, Forge, td15
from attest.quotes import simulated_quotes
from tee_sim.attest.collateral import Collateral
from tee_sim.attest.results import AttestationResult
from tee_sim.attest.verifier import verify_quote
from tee_sim.errors import LayoutError
from vectors import vector


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


@cache
def simulated(name: str) -> Source:
    return next(Source(*case[1:5]) for case in simulated_quotes() if case.name == name)


SOURCES = {
    "real SGX": lambda: real("sgx", 1752919277),
    "real TDX": lambda: real("tdx", 1752919234),
    "forged SGX": lambda: forged(Forge()),
    "forged TDX 1.5": lambda: forged(Forge(td15(), 5)),
    "simulated SGX": lambda: simulated("server SGX"),
    "simulated TDX": lambda: simulated("TD 1.5, v5"),
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
