"""Claims: what a quote and Intel's collateral say, by Open Enclave's names.

====================  =========  ====================================
Claim                 of SGX     of TDX
====================  =========  ====================================
``unique_id``         MRENCLAVE  MRTD
``signer_id``         MRSIGNER   (missing: nobody signs a TD)
``product_id``        ISVPRODID  (missing)
``security_version``  ISVSVN     (missing)
``attributes``        1: debug, 2: remote
``tcb_status``        the vendor's word for the state of the platform
====================  =========  ====================================

``sgx_`` and ``tdx_`` claims are fields of the report.

Source: openenclave/openenclave, ``bits/evidence.h``, ``attestation/sgx/evidence.h`` and
``attestation/tdx/evidence.h``. Not Open Enclave's are ``report_data``, which both TEEs have, and
what comes from the PCK certificate. What it takes for a TD's ``unique_id`` is unverified.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from tee_sim.abi.quote import Body
from tee_sim.abi.sgx import ReportBody
from tee_sim.abi.tdx import TDReport10, TDReport15
from tee_sim.attest.chains import Window
from tee_sim.attest.pck import PCK
from tee_sim.attest.tcb import EnclaveIdentity, Level, TCBInfo

DEBUG, REMOTE = 1, 2
"""Bits of the claim ``attributes``."""

_NAMES: Final = {
    "mrsignerseam": "mrseamsigner",
    "seamattributes": "seam_attributes",
    "tdattributes": "td_attributes",
    "reportdata": "report_data",
    "tee_tcb_svn2": "tee_tcb_svn_2",
    "cpusvn": "cpu_svn",
    "isvextprodid": "isv_extended_product_id",
    "configid": "config_id",
    "configsvn": "config_svn",
    "isvfamilyid": "isv_family_id",
}
"""Fields of a report that Open Enclave names otherwise."""


def claims_of(
    body: Body | None,
    pck: PCK | None,
    said: tuple[TCBInfo | None, EnclaveIdentity | None],
    status: str,
    levels: Sequence[Level],
    windows: Sequence[Window],
) -> dict[str, Any]:
    """Everything that is known about a quote; what could not be read is left out."""
    claims = _sgx(body) if isinstance(body, ReportBody) else _tdx(body) if body else {}
    if windows:
        claims["validity_from"] = int(max(window.start for window in windows))
        claims["validity_until"] = int(min(window.end for window in windows))
    if levels:
        date = datetime.fromtimestamp(min(level.date for level in levels), UTC)
        claims |= {"tcb_status": status, "tcb_date": f"{date:%Y-%m-%dT%H:%M:%SZ}"}
    numbers = [each.tcb_evaluation_data_number for each in said if each]
    if len(numbers) == len(said):  # what one of the two does not know is not known
        claims["tcb_evaluation_data_number"] = min(numbers)
    if pck is not None:
        claims |= vars(pck)
        claims["sgx_pce_svn"] = claims.pop("pcesvn")
        del claims["components"]
    return claims


def _sgx(body: ReportBody) -> dict[str, Any]:
    flags = body.attributes.flags
    same = ("reportdata", "cpusvn", "isvextprodid", "configid", "configsvn", "isvfamilyid")
    return {
        "unique_id": body.mrenclave,
        "signer_id": body.mrsigner,
        "product_id": body.isvprodid,
        "security_version": body.isvsvn,
        "attributes": REMOTE | (DEBUG if flags.debug else 0),
        "report_data": body.reportdata,
        "sgx_pf_gp_exit_info_enabled": body.miscselect.exinfo,
        "sgx_is_mode64bit": flags.mode64bit,
        "sgx_has_provision_key": flags.provisionkey,
        "sgx_has_einittoken_key": flags.einittokenkey,
        "sgx_uses_kss": flags.kss,
        **{f"sgx_{_NAMES[name]}": getattr(body, name) for name in same},
    }


def _tdx(body: TDReport10 | TDReport15) -> dict[str, Any]:
    base = body.base if isinstance(body, TDReport15) else body
    fields = {**vars(base), **vars(body)}
    fields.pop("base", None)
    attributes = base.tdattributes
    return {
        "unique_id": base.mrtd,
        "attributes": REMOTE | (DEBUG if attributes.tud else 0),
        "report_data": base.reportdata,
        **{f"tdx_{_NAMES.get(name, name)}": value for name, value in fields.items()},
        "tdx_td_attributes": int(attributes),
        "tdx_td_attributes_septve_disable": attributes.sept_ve_disable,
    }
