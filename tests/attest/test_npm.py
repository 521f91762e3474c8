"""The same quotes, judged by dcap-qvl's sibling in JavaScript, with other libraries underneath.

``TEE_SIM_NPM`` names a folder in which ``npm install @phala/dcap-qvl`` was run. Where it is not
set, these tests are skipped; where it is, node and the package must be there.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from attest.quotes import SimulatedQuote, simulated_quotes, what_counts

QUOTES = simulated_quotes()
SCRIPT = Path(__file__).with_name("npm_verdicts.js")
FOLDER = os.environ.get("TEE_SIM_NPM")

pytestmark = pytest.mark.skipif(
    not FOLDER, reason="TEE_SIM_NPM does not name a folder with npm's @phala/dcap-qvl"
)


def case(found: SimulatedQuote, **other: object) -> dict[str, object]:
    """A question for the script; the root can be left out for Intel's."""
    collateral = json.loads(found.collateral.to_json())
    given = {"quote": found.quote.hex(), "root": found.root_der.hex(), "at": found.at}
    return given | {"collateral": collateral} | other


def verdicts(cases: list[dict[str, object]]) -> list[Any]:
    """Status and advisories for each case, or why it is refused."""
    environment = os.environ | {"NODE_PATH": str(Path(str(FOLDER)) / "node_modules")}
    run = subprocess.run(
        ["node", SCRIPT], input=json.dumps(cases).encode(), capture_output=True, env=environment
    )
    assert run.returncode == 0, run.stderr.decode()
    return list(json.loads(run.stdout))


def test_the_npm_verifier_agrees_on_every_quote() -> None:
    wanted = [[quote.status, quote.advisories] for quote in QUOTES]
    assert verdicts([case(quote) for quote in QUOTES]) == wanted


def test_the_npm_verifier_refuses_them_under_intels_root() -> None:
    for found in verdicts([case(quote, root=None) for quote in QUOTES]):
        assert isinstance(found, str)


@pytest.mark.parametrize("name", ["client SGX", "TD 1.0, v4", "TD 1.5, v5"])
def test_the_npm_verifier_refuses_a_changed_byte(name: str) -> None:
    quote = next(quote for quote in QUOTES if quote.name == name)
    cases = []
    for position in what_counts(quote.quote)[::25]:
        data = bytearray(quote.quote)
        data[position] ^= 1
        cases.append(case(quote, quote=data.hex()))
    for found in verdicts(cases):
        assert isinstance(found, str)


def test_the_npm_verifier_refuses_changed_collateral() -> None:
    cases = []
    for field in ("tcb_info", "tcb_info_signature", "qe_identity", "qe_identity_signature"):
        given = case(QUOTES[0])
        collateral = dict(given["collateral"])
        collateral[field] = collateral[field].replace("2", "3", 1)
        cases.append(given | {"collateral": collateral})
    for found in verdicts(cases):
        assert isinstance(found, str)
