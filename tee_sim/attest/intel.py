"""The simulated Intel, the Endorser of SGX and TDX: it certifies platforms and judges their TCB.

Source: Intel SGX and TDX Provisioning Certification Service API, version 4.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tee_sim.attest.certificates import (
    CA,
    PCK,
    PCK_PROFILES,
    PROFILES,
    Authority,
    PlatformConfiguration,
    pem,
    public_key,
)
from tee_sim.attest.collateral import Collateral
from tee_sim.attest.endorsements import (
    TEE,
    VALID_DAYS,
    Advisory,
    EnclaveIdentity,
    Level,
    TDXModule,
    check_raise,
    issue,
    visible,
)
from tee_sim.errors import UsageError, known

Update = Literal["early", "standard"]

MRSIGNER = bytes.fromhex("d617b1ee9f795b830b849333c484bc351ef2e307dd4b015551889f59eedacce2")
"""Who signs its enclaves: the key that IA32_SGXLEPUBKEYHASH names after a reset."""

ROOT_CRL_DAYS = 380
FIRST_NUMBER = 17
"""TCB evaluation data number before the first advisory: there were others, long ago."""

_LONG_AGO = 1704067200

LEVELS: Mapping[str, tuple[Level, ...]] = {
    "platform": (
        Level((2,) * 16 + (1,) + (5, 0, 2) + (0,) * 13, _LONG_AGO),
        Level(
            (1,) * 16 + (1,) + (4, 0, 1) + (0,) * 13, _LONG_AGO, "OutOfDate", ("INTEL-SA-00289",)
        ),
    ),
    "QE": (Level((1,), _LONG_AGO),),
    "TD_QE": (Level((1,), _LONG_AGO),),
    "QVE": (Level((1,), _LONG_AGO),),
}
"""The levels before the first advisory, highest first. A platform's CPUSVN is 16 times its patch
level + 1; what its oldest is vulnerable to is undervolting."""

IDENTITIES: Mapping[str, EnclaveIdentity] = {
    "QE": EnclaveIdentity(MRSIGNER, 1),
    "TD_QE": EnclaveIdentity(MRSIGNER, 2),
    "QVE": EnclaveIdentity(MRSIGNER, 2, bytes([1]) + bytes(15)),
}

TDX_MODULES = (
    TDXModule(3, (Level((3,), _LONG_AGO),)),
    TDXModule(1, (Level((4,), _LONG_AGO), Level((2,), _LONG_AGO, "OutOfDate"))),
)


class SimulatedIntel:
    """Intel's root of trust, its certification of platforms, and its advisories.

    Times are Unix seconds, and part of what happens: collateral that is issued at a time knows what
    was published and revoked until then.

    Args:
        seed: what all private keys follow from; None draws them.

    Attributes:
        root_der: the root certificate, which a Verifier must be told to trust.

    Simplified: an advisory concerns the platforms of every FMSPC; a real one names those affected.
    """

    def __init__(self, seed: int | None = 0) -> None:
        secret = secrets.token_bytes(32) if seed is None else f"simulated Intel {seed}".encode()
        root = Authority(secret, PROFILES["root"])
        below = {n: Authority(secret, p, root) for n, p in PROFILES.items() if n != "root"}
        self._authorities = {"root": root, **below}
        self.root_der = root.certificate.public_bytes(Encoding.DER)
        self._certified: dict[PCK, x509.Certificate] = {}
        self._advisories: list[Advisory] = []
        self._revoked: dict[str, dict[int, int]] = {name: {} for name in PROFILES}

    def certify(
        self,
        pck_public_key: bytes,
        *,
        ppid: bytes,
        cpusvn: bytes,
        pcesvn: int,
        fmspc: bytes,
        pceid: bytes,
        ca: CA = "processor",
        configuration: PlatformConfiguration | None = None,
    ) -> str:
        """Certify the key that a platform has at one raw TCB.

        Args:
            pck_public_key: x || y, 64 bytes.
            ppid: as `PCK` says of this and the others.
            cpusvn: 16 bytes.
            pcesvn: 0-65535.
            fmspc: 6 bytes.
            pceid: 2 bytes.
            ca: ``processor`` for client platforms, ``platform`` for servers.
            configuration: of a server.

        Returns:
            PEM: the PCK certificate, its CA's and the root's.

        Raises:
            UsageError: one of these has a wrong size or value.

        Simplified: Intel derives the platform's keys itself, from what it burnt into the fuses;
        here the platform tells its public key.
        """
        setup = configuration or PlatformConfiguration()
        pck = PCK(ppid, cpusvn, pcesvn, pceid, fmspc, ca, setup)
        key, authority = public_key(pck_public_key), self._authorities[ca]
        self._certified[pck] = authority.issue(PCK_PROFILES[ca], key, pck.extension())
        return pem(self._certified[pck]) + authority.chain

    def certified(self, ppid: bytes, pceid: bytes) -> dict[PCK, str]:
        """All PCK certificates of a platform, PEM without their issuers, the highest TCB first."""
        own = [pck for pck in self._certified if (pck.ppid, pck.pceid) == (ppid, pceid)]
        own.sort(key=lambda pck: (pck.cpusvn, pck.pcesvn), reverse=True)
        return {pck: pem(self._certified[pck]) for pck in own}

    def issuer_chain(self, name: str) -> str:
        """PEM: ``processor``, ``platform`` or ``signing``, and the root."""
        return self._authorities[name].chain

    def publish(
        self,
        advisory: str,
        *,
        at: int,
        cpusvn: bytes | None = None,
        pcesvn: int | None = None,
        tee_tcb_svn: bytes | None = None,
        status: str = "UpToDate",
        early: bool = False,
    ) -> None:
        """TCB recovery of platforms: publish an advisory, and what has to be reached from now on.

        Args:
            advisory: its name, such as ``INTEL-SA-00615``.
            at: from when on it is in the collateral; not before the advisory before it.
            cpusvn: 16 component SVNs that fix it; what is not given stays.
            pcesvn: 0-65535.
            tee_tcb_svn: 16 component SVNs of TDX.
            status: of a platform that has these. If not ``UpToDate``, the advisory concerns it too.
            early: only those who ask for early updates see it. Intel gives the others a year.

        Raises:
            UsageError: an SVN would fall, or nothing would change.
        """
        old = self._levels("platform", self._latest(), early=True)[0].svns
        components = tuple(old[:16] if cpusvn is None else cpusvn)
        tdx = tuple(old[17:] if tee_tcb_svn is None else tee_tcb_svn)
        svns = (*components, old[16] if pcesvn is None else pcesvn, *tdx)
        self._publish(advisory, "platform", svns, at, status, early)

    def publish_enclave(
        self,
        advisory: str,
        *,
        at: int,
        isvsvn: int,
        enclave: str = "QE",
        status: str = "UpToDate",
        early: bool = False,
    ) -> None:
        """TCB recovery of one of Intel's enclaves (``QE``, ``TD_QE``, ``QVE``), as `publish`.

        Raises:
            UsageError: no such enclave; its ISVSVN would fall, or nothing would change.
        """
        known("enclave of Intel's", enclave, IDENTITIES)
        self._publish(advisory, enclave, (isvsvn,), at, status, early)

    def _publish(
        self, name: str, subject: str, svns: tuple[int, ...], at: int, status: str, early: bool
    ) -> None:
        if _require_time(at) < self._latest():
            raise UsageError(f"at={at} lies before the last advisory, which is of {self._latest()}")
        level = Level(svns, at, status, () if status == "UpToDate" else (name,))
        check_raise(level, self._levels(subject, at, early=True)[0])
        self._advisories.append(Advisory(name, subject, level, early))

    def revoke(self, certificate: str | bytes, *, at: int) -> None:
        """Put a certificate on its issuer's revocation list.

        Args:
            certificate: PEM (the first one counts) of a PCK certificate or of a CA.
            at: from when on it is on the list.

        Raises:
            UsageError: it is no certificate that this Intel issued.
        """
        data = certificate.encode() if isinstance(certificate, str) else certificate
        try:
            found = x509.load_pem_x509_certificate(data)
        except ValueError as error:
            raise UsageError(f"revoke() needs a certificate in PEM form: {error}") from None
        for name, authority in self._authorities.items():
            try:
                found.verify_directly_issued_by(authority.certificate)
            except Exception:  # whatever is wrong with it, this authority did not issue it
                continue
            self._revoked[name].setdefault(found.serial_number, _require_time(at))
            return
        raise UsageError("revoke(): another root stands above this certificate")

    def crl(self, name: str, at: int) -> bytes:
        """The revocation list of ``root``, ``processor`` or ``platform``, DER."""
        known("revocation list", name, ("root", *PCK_PROFILES))
        _require_time(at)
        revoked = {serial: when for serial, when in self._revoked[name].items() if when <= at}
        days = ROOT_CRL_DAYS if name == "root" else VALID_DAYS
        return self._authorities[name].crl(revoked, at, days)

    def numbers(self, at: int, early: bool) -> range:
        """The TCB evaluation data numbers that collateral of a time can have."""
        count = len(visible(self._advisories, at, early))
        return range(FIRST_NUMBER, FIRST_NUMBER + count + 1)

    def tcb_info(
        self, fmspc: bytes, at: int, tee: TEE = "sgx", *, early: bool = False, number: int = 0
    ) -> tuple[str, bytes]:
        """TCB info of one FMSPC: the signed JSON text, and the signature, 64 bytes.

        Args:
            fmspc: 6 bytes.
            at: when it is issued.
            tee: ``sgx`` or ``tdx``.
            early: with the advisories that others do not see yet.
            number: TCB evaluation data number; 0 for the newest.

        Raises:
            UsageError: no platform with this FMSPC was certified; no such number.
        """
        known("TEE", tee, ("sgx", "tdx"))
        pck = next((pck for pck in self._certified if pck.fmspc == fmspc), None)
        if pck is None:
            raise UsageError(f"no platform with FMSPC {fmspc.hex().upper()} was certified")
        about = {"fmspc": fmspc.hex().upper(), "pceId": pck.pceid.hex().upper(), "tcbType": 0}
        number = self._number(at, early, number)
        data = issue(tee.upper(), 3, at, number, **about)
        if tee == "tdx":
            data["tdxModule"] = TDXModule(0).to_json()
            data["tdxModuleIdentities"] = [module.to_json() for module in TDX_MODULES]
        levels = self._levels("platform", at, early, number)
        data["tcbLevels"] = [level.to_json(tee) for level in levels]
        return self._signed(data)

    def identity(
        self, enclave: str, at: int, *, early: bool = False, number: int = 0
    ) -> tuple[str, bytes]:
        """The identity of ``QE``, ``TD_QE`` or ``QVE``; arguments and result as of `tcb_info`.

        Raises:
            UsageError: no such enclave, no such number.
        """
        known("enclave of Intel's", enclave, IDENTITIES)
        number = self._number(at, early, number)
        data = issue(enclave, 2, at, number) | IDENTITIES[enclave].to_json()
        levels = self._levels(enclave, at, early, number)
        data["tcbLevels"] = [level.to_json() for level in levels]
        return self._signed(data)

    def collateral(
        self, fmspc: bytes, ca: CA, at: int, tee: TEE = "sgx", *, early: bool = False
    ) -> Collateral:
        """All that a Verifier needs for a quote, as issued at a time.

        Args:
            fmspc: of the platform, 6 bytes.
            ca: who certified it, ``processor`` or ``platform``.
            at: when it is issued. It is valid for 30 days.
            tee: ``sgx`` or ``tdx``.
            early: with the advisories that others do not see yet.

        Raises:
            UsageError: no platform with this FMSPC was certified; no such CA or TEE.
        """
        known("PCK CA", ca, PCK_PROFILES)
        tcb_info, tcb_signature = self.tcb_info(fmspc, at, tee, early=early)
        qe, qe_signature = self.identity("TD_QE" if tee == "tdx" else "QE", at, early=early)
        return Collateral(
            pck_crl_issuer_chain=self.issuer_chain(ca),
            root_ca_crl=self.crl("root", at),
            pck_crl=self.crl(ca, at),
            tcb_info_issuer_chain=self.issuer_chain("signing"),
            tcb_info=tcb_info,
            tcb_info_signature=tcb_signature,
            qe_identity_issuer_chain=self.issuer_chain("signing"),
            qe_identity=qe,
            qe_identity_signature=qe_signature,
        )

    def _latest(self) -> int:
        return self._advisories[-1].level.date if self._advisories else PROFILES["root"].start

    def _number(self, at: int, early: bool, number: int) -> int:
        numbers = self.numbers(_require_time(at), early)
        if number and number not in numbers:
            raise UsageError(f"no TCB evaluation data number {number}; there are: {[*numbers]}")
        return number or numbers[-1]

    def _levels(
        self, subject: str, at: int, early: bool, number: int | None = None
    ) -> tuple[Level, ...]:
        levels = LEVELS[subject]
        out = visible(self._advisories, at, early)
        for advisory in out if number is None else out[: number - FIRST_NUMBER]:
            if advisory.subject == subject:
                levels = advisory.applied(levels)
        return levels

    def _signed(self, data: dict[str, Any]) -> tuple[str, bytes]:
        text = json.dumps(data, separators=(",", ":"))
        return text, self._authorities["signing"].sign(text.encode())


def _require_time(at: int) -> int:
    root = PROFILES["root"]
    if not root.start <= at <= root.end:
        raise UsageError(f"at={at} is outside the root CA's validity, {root.start}-{root.end}")
    return at
