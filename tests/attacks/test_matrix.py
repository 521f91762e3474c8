"""The attack matrix against the literature."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tee_sim.attacks import ATTACKS, STOPPED, VERDICTS, Attack, Variant
from tee_sim.attacks.matrix import compute, run
from tee_sim.tees import TEES

LITERATURE = Path(__file__).parents[3] / "shared" / "attack-matrix.md"
LETTERS = {
    "B": "blocked",
    "D": "detected",
    "C": "ciphertext",
    "X": "succeeds",
    "-": "not-applicable",
}

# A row with variants has a line for each: name, then the variant.
EXPECTED: dict[str, tuple[int, str, str, str, str]] = {
    #                          row  none vbs  mee  tme   what stops it, by vendors and papers
    "read_private_page":       (1,  "X", "B", "B", "B"),  # abort page
    "write_private_page":      (2,  "X", "B", "B", "B"),  # abort page: the write is dropped
    "replay_by_software":      (3,  "X", "B", "B", "B"),  # as 2
    "remap_page":              (4,  "X", "B", "B", "B"),  # EPCM.ENCLAVEADDRESS; SEVered 2018
    "move_blocks":             (5,  "X", "B", "B", "B"),  # abort page; SEVurity 2020
    "registers_at_exit":       (6,  "X", "B", "B", "B"),  # SSA; Hetzelt, Buhren 2017; Werner 2019
    "page_faults":             (10, "X", "B", "X", "X"),  # nothing; Xu, Cui, Peinado 2015
    "accessed_bits":           (11, "X", "B", "X", "X"),  # nothing; Van Bulck 2017, Wang 2017
    "single_step, as sold":    (12, "X", "B", "X", "X"),  # SGX-Step 2017
    "single_step, patched, no handler":
                               (12, "X", "B", "X", "X"),  # AEX-Notify only tells who listens
    "single_step, patched, with a handler":
                               (12, "X", "B", "B", "B"),  # AEX-Notify 2023
    "undervolt, voltage locked": (17, "X", "-", "B", "-"),  # lock of the voltage register
    "undervolt, as sold":      (17, "X", "-", "X", "-"),  # nothing; Plundervolt 2020
    "invd":                    (18, "X", "-", "B", "B"),  # #GP; CacheWarp 2024 is on AMD
    "exception_reentry, careless runtime":
                               (21, "-", "-", "X", "X"),  # SmashEx 2021
    "exception_reentry, guarded runtime":
                               (21, "-", "-", "B", "B"),  # the runtime's own guard
    "hostile_ocall, careful program": (22, "X", "B", "B", "B"),  # the runtime's guard
    "hostile_ocall, careless program": (22, "X", "X", "X", "X"),  # nothing; Iago 2013
    "inside_pointer, checked by the EDL":
                               (22, "X", "B", "B", "B"),  # the runtime's guards, as above
    "inside_pointer, user_check": (22, "X", "X", "X", "X"),  # nothing; Van Bulck et al. 2019
    "double_fetch, checked by the EDL": (22, "X", "B", "B", "B"),
    "double_fetch, user_check": (22, "X", "X", "X", "X"),
    "size_overflow, checked by the EDL": (22, "X", "B", "B", "B"),
    "size_overflow, user_check": (22, "X", "X", "X", "X"),
    "stack_leak, checked by the EDL": (22, "X", "B", "B", "B"),
    "stack_leak, user_check":  (22, "X", "X", "X", "X"),  # nothing; Lee, Kim 2017
    "dimm_alias":              (23, "X", "X", "C", "B"),  # encryption; alias check at boot
    "bus_replay":              (24, "X", "X", "D", "X"),  # counter tree; Battering RAM 2025
    "bus_theft":               (24, "X", "X", "D", "X"),  # as bus_replay: one memory key
    "ciphertext_dictionary":   (25, "X", "X", "C", "X"),  # counter mode; WireTap, TEE.fail 2025
    "address_bus":             (26, "X", "X", "X", "X"),  # nothing (oblivious RAM); MemBuster 2020
    "rollback_sealed_state":   (27, "X", "X", "X", "X"),  # nothing; Memoir 2011, ROTE 2017
    "stale_evidence, careful Relying Party": (28, "-", "B", "B", "B"),  # a nonce
    "stale_evidence, careless Relying Party": (28, "-", "X", "X", "X"),  # nothing on the machine
    "relayed_evidence, careful Relying Party": (28, "-", "B", "B", "B"),  # the evidence's key
    "relayed_evidence, careless Relying Party": (28, "-", "X", "X", "X"),
    "vulnerable_release, patched": (29, "-", "B", "-", "-"),  # a list of known holes
    "vulnerable_release, as sold": (29, "-", "X", "-", "-"),  # CVE-2023-36880
    "stolen_attestation_key, patched": (30, "-", "-", "B", "B"),  # microcode; SGAxe, AEPIC Leak
    "stolen_attestation_key, as sold": (30, "-", "-", "X", "X"),  # nothing: nobody knows yet
    "stolen_attestation_key, as sold, after TCB recovery":
                               (30, "-", "-", "B", "B"),  # TCB status
    "tampered_image":          (32, "X", "B", "B", "B"),  # EINIT against SIGSTRUCT
    "cold_boot":               (33, "X", "X", "C", "C"),  # memory encryption
    "bus_corruption":          (34, "X", "X", "D", "X"),  # MAC; XTS alone yields garbage
    "stale_page":              (35, "X", "B", "B", "B"),  # ETRACK before EWB
    "impostor":                (36, "X", "X", "X", "X"),  # nothing on the machine: attestation
    "attested_impostor, careful Relying Party": (36, "-", "B", "B", "B"),  # who signed it
    "attested_impostor, careless Relying Party": (36, "-", "X", "X", "X"),
}  # fmt: skip
ANSWERED = {28, 36}
"""X on every machine, and stopped by the Relying Party: both outcomes have to be there."""
PLATFORMS = ("none", "vbs", "sgx-mee", "sgx-tme")
CELLS = [(name, tee) for name in EXPECTED for tee in PLATFORMS]
STOPPED_CELLS = [
    (name, tee) for name, tee in CELLS if EXPECTED[name][1 + PLATFORMS.index(tee)] in "BDC"
]


@pytest.fixture(scope="module")
def matrix() -> dict[str, Any]:
    return compute()


def label(name: str, variant: str | None) -> str:
    """How `EXPECTED` calls one variant of an attack."""
    return f"{name}, {variant}" if variant else name


def outcome(matrix: dict[str, Any], wanted: str, tee: str) -> dict[str, Any]:
    found: dict[str, Any]
    for row in matrix["attacks"]:
        found = row["outcomes"][tee]
        if label(row["name"], found["variant"]) == wanted:
            return found
    raise LookupError(wanted)


def variant_of(name: str) -> tuple[Attack, Variant]:
    """The attack and the variant that a line of `EXPECTED` is about."""
    attack = ATTACKS[name.partition(",")[0]]
    return attack, next(v for v in attack.variants if label(attack.name, v.name) == name)


def test_the_rows_and_columns_are_those_expected(matrix: dict[str, Any]) -> None:
    assert matrix["platforms"] == list(TEES) == list(PLATFORMS)
    found = {
        label(row["name"], row["outcomes"]["none"]["variant"]): row["row"]
        for row in matrix["attacks"]
    }
    assert found == {name: expected[0] for name, expected in EXPECTED.items()}


@pytest.mark.parametrize(("name", "tee"), CELLS)
def test_a_cell_is_as_expected(matrix: dict[str, Any], name: str, tee: str) -> None:
    found, expected = outcome(matrix, name, tee), EXPECTED[name][1 + PLATFORMS.index(tee)]
    assert found["verdict"] == LETTERS[str(expected)], found["detail"]


@pytest.mark.parametrize(("name", "tee"), STOPPED_CELLS)
def test_a_stopped_attack_succeeds_without_its_layers(
    matrix: dict[str, Any], name: str, tee: str
) -> None:
    found = outcome(matrix, name, tee)
    assert found["verdict"] in STOPPED
    assert found["layers"][0] == found["check"]
    attack, variant = variant_of(name)
    assert run(attack, tee, found["layers"], variant).verdict == "succeeds"


def test_the_expectations_are_those_of_the_literature() -> None:
    if not LITERATURE.is_file():
        pytest.skip(f"{LITERATURE.name} lies outside this repository, and is not there")
    lines = LITERATURE.read_text(encoding="utf-8").splitlines()
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    heads = next(row for row in table if row[0] == "#")
    by_row = {int(row[0]): row for row in table if re.fullmatch(r"\d+", row[0])}
    found: dict[tuple[int, str], set[str]] = {}
    for row, *letters in EXPECTED.values():
        for tee, letter in zip(PLATFORMS, letters, strict=True):
            found.setdefault((row, tee), set()).add(letter)
    for (row, tee), letters_found in found.items():
        if tee == "none":
            assert letters_found <= {"X", "-"}, "without a TEE everything succeeds that applies"
            continue
        written = by_row[row][heads.index(tee)]
        marked = [tee in a.unverified for a in ATTACKS.values() if a.row == row]
        assert marked == [written.endswith("?")] * len(marked), (row, tee)
        written = written.rstrip("?")
        # p: until a patch; w: as the program is written. Both outcomes have to be there.
        both = {"X", "B"} if re.fullmatch(r"[pw](, [pw])*", written) else {written}
        both = both | {"B"} if row in ANSWERED else both
        assert letters_found == both, (row, tee)


def test_the_json_form_has_exactly_these_keys(matrix: dict[str, Any]) -> None:
    assert set(matrix) == {"platforms", "attacks"}
    for row in matrix["attacks"]:
        assert set(row) == {"name", "row", "reference", "title", "outcomes"}
        assert list(row["outcomes"]) == matrix["platforms"]
        for found in row["outcomes"].values():
            assert set(found) == {"verdict", "check", "layers", "variant", "detail", "unverified"}
            assert found["verdict"] in VERDICTS
            assert found["detail"]
            assert (found["check"] is None) == (found["layers"] == [])


def test_a_second_computation_gives_the_same_json(matrix: dict[str, Any]) -> None:
    script = "import json; from tee_sim.attacks.matrix import compute; print(json.dumps(compute()))"
    again = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(again.stdout) == json.loads(json.dumps(matrix))


def test_only_the_attacks_and_platforms_that_were_asked_for_run() -> None:
    cells = []
    found = compute(
        ["sgx-tme"], ["cold_boot", "debug_read"], ["EDBGRD.DEBUG"], lambda: cells.append(1)
    )
    assert found["platforms"] == ["sgx-tme"]
    assert [row["name"] for row in found["attacks"]] == ["cold_boot", "debug_read"]
    assert outcome(found, "debug_read", "sgx-tme")["verdict"] == "succeeds"
    assert len(cells) == 2


def test_an_attack_on_a_platform_without_its_target_does_not_apply() -> None:
    found = compute(["none"], ["debug_read"])
    assert outcome(found, "debug_read", "none")["verdict"] == "not-applicable"
