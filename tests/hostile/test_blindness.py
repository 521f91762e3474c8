"""The hostile walk is not blind: with one check off, it soon finds a broken promise."""

from __future__ import annotations

from random import Random

import pytest

from hostile.lab import Lab
from hostile.test_state_machine import STEPS

SEQUENCES, LENGTH = 40, 60
CHECKS = {
    "PRM.ABORT_PAGE": "sgx-tme",
    "EPCM.ENCLAVEADDRESS": "sgx-tme",
    "EPCM.X": "sgx-mee",
    "EPCM.PENDING": "sgx-tme",
    "EPCM.MODIFIED": "sgx-mee",
    "EMODPR.MASK": "sgx-tme",
    "ELRANGE.EPC": "sgx-tme",
    "ELRANGE.FETCH": "sgx-mee",
    "ENCLAVE.ILLEGAL_INSTRUCTION": "sgx-tme",
    "AEX.SYNTHETIC_STATE": "sgx-tme",
    "AEX.CR2": "sgx-mee",
    "EENTER.TF": "sgx-tme",
    "EENTER.INIT": "sgx-mee",
    "MEASURE.EEXTEND": "sgx-tme",
    "EINIT.SIGNATURE": "sgx-mee",
    "EDBGRD.DEBUG": "sgx-tme",
    "EREMOVE.CHILD": "sgx-mee",
    "EWB.ENCRYPTION": "sgx-tme",
    "EWB.VERSION": "sgx-mee",
    "ELD.MAC": "sgx-tme",
    "MEM.ENCRYPTION": "sgx-tme",
    "MEE.MAC": "sgx-mee",
    "MEE.TREE": "sgx-mee",
}


def walk(lab: Lab, rng: Random) -> None:
    """One sequence, to its end or to the first machine check."""
    for _ in range(LENGTH):
        if lab.dead:
            break
        lab.step(rng.choice(STEPS), rng)
    lab.finish()


def notices(check: str) -> bool:
    """Whether some sequence ends in a broken promise, or breaks the judge, who relied on it."""
    try:
        for number in range(SEQUENCES):
            walk(Lab(CHECKS[check], 4096, lambda line: None, {check}), Random(number))
    except Exception:
        return True
    return False


@pytest.mark.parametrize("check", CHECKS)
def test_a_missing_check_is_noticed(check: str) -> None:
    assert notices(check)
