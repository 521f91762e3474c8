"""Claims: what a quote and Intel's collateral say, by Open Enclave's names.

=====================  ==============================================  ============================
Claim                  SGX                                             TDX
=====================  ==============================================  ============================
``unique_id``          MRENCLAVE                                       MRTD
``signer_id``          MRSIGNER                                        (none: nobody signs a TD)
``product_id``         ISVPRODID                                       (none)
``security_version``   ISVSVN                                          (none)
``attributes``         1: debug, 2: remote                             the same
``tcb_status``         the vendor's word for the platform's state      the same
``report_data``        REPORTDATA                                      REPORTDATA
=====================  ==============================================  ============================

``sgx_`` and ``tdx_`` claims are the fields of the report; the rest comes from the PCK certificate.

Source: openenclave/openenclave, ``attestation/sgx/evidence.h``, ``attestation/tdx/evidence.h`` and
``bits/evidence.h``. ``report_data``, ``fmspc``, ``ppid`` and what follows them are not among
Open Enclave's. What it takes for a TD's ``unique_id`` is unverified.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from tee_sim.abi.quote import Body, Quote
from tee_sim.abi.sgx import ReportBody
from tee_sim.abi.tdx import TDReport10, TDReport15
from tee_sim.attest.pck import PCK
from tee_sim.attest.tcb import Evaluation, TCBInfo

DEBUG, REMOTE = 1, 2
"""Bits of the claim ``attributes``."""

_TD_NAMES: Final = {
    "mrsignerseam": "mrseamsigner",
    "seamattributes": "seam_attributes",
    "tdattributes": "td_attributes",
    "reportdata": "report_data",
}
"""Fields of a TD's report that Open Enclave names otherwise."""


def claims_of(
    quote: Quote,
    body: Body | None,
    pck: PCK | None,
    info: TCBInfo | None,
    verdict: Evaluation | None,
) -> dict[str, Any]:
    """Everything that is known about a quote; what could not be read is left out."""
    claims: dict[str, Any] = {"quote_version": quote.header.version}
    if isinstance(body, ReportBody):
        claims |= _sgx(body)
    elif body is not None:
        claims |= _tdx(body)
    if verdict is not None:
        date = min(level.date for level in verdict.levels)
        claims["tcb_status"] = verdict.status
        claims["tcb_date"] = datetime.fromtimestamp(date, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if info is not None:
        claims["tcb_evaluation_data_number"] = info.tcb_evaluation_data_number
    if pck is not None:
        claims |= {
            "sgx_pce_svn": pck.pcesvn,
            "fmspc": pck.fmspc,
            "ppid": pck.ppid,
            "sgx_type": pck.sgx_type,
            "platform_instance_id": pck.platform_instance_id,
            "dynamic_platform": pck.dynamic_platform,
            "cached_keys": pck.cached_keys,
            "smt_enabled": pck.smt_enabled,
        }
    return claims


def _sgx(body: ReportBody) -> dict[str, Any]:
    flags = body.attributes.flags
    return {
        "id_version": 1,
        "unique_id": body.mrenclave,
        "signer_id": body.mrsigner,
        "product_id": body.isvprodid,
        "security_version": body.isvsvn,
        "attributes": REMOTE | (DEBUG if flags.debug else 0),
        "report_data": body.reportdata,
        "sgx_report_data": body.reportdata,
        "sgx_cpu_svn": body.cpusvn,
        "sgx_pf_gp_exit_info_enabled": body.miscselect.exinfo,
        "sgx_isv_extended_product_id": body.isvextprodid,
        "sgx_is_mode64bit": flags.mode64bit,
        "sgx_has_provision_key": flags.provisionkey,
        "sgx_has_einittoken_key": flags.einittokenkey,
        "sgx_uses_kss": flags.kss,
        "sgx_config_id": body.configid,
        "sgx_config_svn": body.configsvn,
        "sgx_isv_family_id": body.isvfamilyid,
    }


def _tdx(body: TDReport10 | TDReport15) -> dict[str, Any]:
    base = body.base if isinstance(body, TDReport15) else body
    attributes = base.tdattributes
    claims = {
        "id_version": 1,
        "unique_id": base.mrtd,
        "attributes": REMOTE | (DEBUG if attributes.tud else 0),
        "report_data": base.reportdata,
    }
    for name in base.FIELDS:
        claims[f"tdx_{_TD_NAMES.get(name, name)}"] = getattr(base, name)
    claims["tdx_td_attributes"] = int(attributes)
    for name in ("sept_ve_disable", "migratable", "perfmon"):
        claims[f"tdx_td_attributes_{name.replace('sept_ve', 'septve')}"] = getattr(attributes, name)
    if isinstance(body, TDReport15):
        claims |= {"tdx_tee_tcb_svn_2": body.tee_tcb_svn2, "tdx_mrservicetd": body.mrservicetd}
    return claims
