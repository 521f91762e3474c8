"""The simulated Intel, the Endorser of SGX and TDX: it certifies platforms and judges their TCB.

Source: Intel SGX and TDX Provisioning Certification Service API, version 4.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from tee_sim.attest.certificates import (
    CA,
    PCK,
    PCK_PROFILES,
    PROFILES,
    Authority,
    pem,
    public_key,
    sign,
)
from tee_sim.attest.collateral import Collateral
from tee_sim.attest.endorsements import IDENTITIES, LEVELS, TDX_MODULES, TEE, Advisory, Level, iso
from tee_sim.errors import UsageError, known

DAY = 86_400
VALID_DAYS = 30
"""How long TCB info, an identity and a list of revoked PCK certificates are valid."""
ROOT_CRL_DAYS = 380

FIRST_NUMBER = 17
"""TCB evaluation data number before the first advisory: there were others, long ago."""


class SimulatedIntel:
    """Intel's root of trust, its certification of platforms, and its advisories.

    Times are Unix seconds, and part of what happens: collateral that is issued at a time knows what
    was published and revoked until then.

    Args:
        seed: what all private keys follow from; None draws them.
        levels: the TCB levels before the first advisory, as `LEVELS`.

    Attributes:
        root_der: the root certificate, which a Verifier must be told to trust.

    Simplified: an advisory concerns the platforms of every FMSPC; a real one names those affected.
    """

    def __init__(
        self, seed: int | None = 0, levels: Mapping[str, tuple[Level, ...]] = LEVELS
    ) -> None:
        secret = secrets.token_bytes(32) if seed is None else f"simulated Intel {seed}".encode()
        root = Authority(secret, PROFILES["root"])
        below = {n: Authority(secret, p, root) for n, p in PROFILES.items() if n != "root"}
        self._authorities = {"root": root, **below}
        self.root_der = root.certificate.public_bytes(Encoding.DER)
        self._certified: dict[PCK, x509.Certificate] = {}
        self._advisories: list[Advisory] = []
        self._first = levels
        self._revoked: dict[str, dict[int, int]] = {name: {} for name in PROFILES}

    def certify(self, pck_public_key: bytes, **platform: Any) -> str:
        """Certify the key that a platform has at one raw TCB.

        Args:
            pck_public_key: x || y, 64 bytes.
            platform: what the certificate says: the attributes of `PCK`, by name.

        Returns:
            PEM: the PCK certificate, its CA's and the root's.

        Raises:
            UsageError: one of these has a wrong size or value.

        Simplified: Intel derives the platform's keys itself, from what it burnt into the fuses;
        here the platform tells its public key.
        """
        pck = PCK(**platform)
        key, authority = public_key(pck_public_key), self._authorities[pck.ca]
        self._certified[pck] = authority.issue(PCK_PROFILES[pck.ca], key, pck.extension())
        return pem(self._certified[pck]) + authority.chain

    def certified(self, ppid: bytes, pceid: bytes) -> dict[PCK, str]:
        """All PCK certificates of a platform, PEM without their issuers, the highest TCB first."""
        own = [pck for pck in self._certified if (pck.ppid, pck.pceid) == (ppid, pceid)]
        own.sort(key=lambda pck: (pck.cpusvn, pck.pcesvn), reverse=True)
        return {pck: pem(self._certified[pck]) for pck in own}

    def issuer_chain(self, name: str) -> str:
        """PEM: ``processor``, ``platform`` or ``signing``, and the root."""
        known("issuer", name, self._authorities)
        return self._authorities[name].chain

    def publish(
        self,
        advisory: str,
        *,
        at: int,
        subject: str = "platform",
        status: str = "UpToDate",
        standard: int | None = None,
        **svns: bytes | int,
    ) -> None:
        """TCB recovery: publish an advisory, and which SVNs have to be reached from now on.

        Args:
            advisory: its name, such as ``INTEL-SA-00615``.
            at: when it is published; not before the one before it.
            subject: whose vulnerability it is: ``platform``, or ``QE``, ``TD_QE``, ``QVE``.
            status: of whoever has the SVNs. If not ``UpToDate``, the advisory concerns it too.
            standard: when those see it who do not ask for early updates; None: they do at once.
                Intel gives them a year.
            svns: what fixes it: a platform's ``cpusvn`` (16 bytes), ``pcesvn``, ``tee_tcb_svn`` (16
                bytes), or an enclave's ``isvsvn``. What is not given stays.

        Raises:
            UsageError: an SVN would fall, or nothing would change; or a name or time is wrong.
        """
        known("subject of advisories", subject, LEVELS)
        when = _require_time(at if standard is None else standard)
        last = self._advisories[-1] if self._advisories else None
        if when < _require_time(at) or (last and (at < last.level.date or when < last.standard)):
            raise UsageError(f"at={at}, standard={standard}: times of advisories never go back")
        newest = self._levels(subject, self.number(at, early=True))[0]
        level = newest.raised(at, status, advisory, svns)
        self._advisories.append(Advisory(advisory, subject, level, when))

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
        except (TypeError, ValueError) as error:
            raise UsageError(f"revoke() needs a certificate in PEM form: {error}") from None
        for name, authority in self._authorities.items():
            try:
                found.verify_directly_issued_by(authority.certificate)
            except (InvalidSignature, TypeError, ValueError):
                continue
            self._revoked[name].setdefault(found.serial_number, _require_time(at))
            return
        raise UsageError("revoke(): another root stands above this certificate")

    def crl(self, name: str, at: int) -> bytes:
        """The revocation list of ``root``, ``processor`` or ``platform`` at a time, DER.

        Raises:
            UsageError: there is no such list; the time is before the root's or after it.
        """
        known("revocation list", name, ("root", *PCK_PROFILES))
        issued = _require_time(at)
        out = {serial: when for serial, when in self._revoked[name].items() if when <= issued}
        days = ROOT_CRL_DAYS if name == "root" else VALID_DAYS
        return self._authorities[name].crl(out, issued, days)

    def number(self, at: int, *, early: bool = False) -> int:
        """The TCB evaluation data number of a time: it counts the advisories that are out."""
        out = [a for a in self._advisories if (a.level.date if early else a.standard) <= at]
        return FIRST_NUMBER + len(out)

    def tcb_info(
        self, fmspc: bytes, at: int, tee: TEE = "sgx", number: int | None = None
    ) -> tuple[str, bytes]:
        """TCB info of one FMSPC: the signed JSON text, and the signature, 64 bytes.

        Args:
            fmspc: 6 bytes.
            at: when it is issued.
            tee: ``sgx`` or ``tdx``.
            number: TCB evaluation data number; None for that of the time.

        Raises:
            UsageError: no platform with this FMSPC was certified; no such TEE or number.
        """
        known("TEE", tee, ("sgx", "tdx"))
        pck = next((pck for pck in self._certified if pck.fmspc == fmspc), None)
        if pck is None:
            given = fmspc.hex().upper() if isinstance(fmspc, bytes) else f"(6 bytes) {fmspc!r}"
            raise UsageError(f"no platform with FMSPC {given} was certified")
        about: Mapping[str, Any] = TDX_MODULES if tee == "tdx" else {}
        names = {"fmspc": pck.fmspc.hex().upper(), "pceId": pck.pceid.hex().upper(), "tcbType": 0}
        return self._issue(tee.upper(), 3, at, number, names, about, tee)

    def identity(self, enclave: str, at: int, number: int | None = None) -> tuple[str, bytes]:
        """The identity of ``QE``, ``TD_QE`` or ``QVE``; arguments and result as of `tcb_info`.

        Raises:
            UsageError: no such enclave, no such number.
        """
        known("enclave of Intel's", enclave, IDENTITIES)
        return self._issue(enclave, 2, at, number, {}, IDENTITIES[enclave], None)

    def collateral(
        self, fmspc: bytes, ca: CA, at: int, tee: TEE = "sgx", *, early: bool = False
    ) -> Collateral:
        """All that a Verifier needs for a quote, as issued at a time; it is valid for 30 days.

        Args:
            fmspc: of the platform, 6 bytes.
            ca: who certified it, ``processor`` or ``platform``.
            at: when it is issued.
            tee: ``sgx`` or ``tdx``.
            early: with the advisories that only those see who ask for early updates.

        Raises:
            UsageError: no platform with this FMSPC was certified; no such CA or TEE.
        """
        known("PCK CA", ca, PCK_PROFILES)
        number = self.number(at, early=early)
        tcb_info, tcb_signature = self.tcb_info(fmspc, at, tee, number)
        qe, qe_signature = self.identity("TD_QE" if tee == "tdx" else "QE", at, number)
        signing = self.issuer_chain("signing")
        return Collateral(
            pck_crl_issuer_chain=self.issuer_chain(ca),
            root_ca_crl=self.crl("root", at),
            pck_crl=self.crl(ca, at),
            tcb_info_issuer_chain=signing,
            tcb_info=tcb_info,
            tcb_info_signature=tcb_signature,
            qe_identity_issuer_chain=signing,
            qe_identity=qe,
            qe_identity_signature=qe_signature,
        )

    def _levels(self, subject: str, number: int) -> tuple[Level, ...]:
        levels = self._first[subject]
        for advisory in self._advisories[: number - FIRST_NUMBER]:
            levels = advisory.applied(levels) if advisory.subject == subject else levels
        return levels

    def _issue(
        self,
        subject: str,
        version: int,
        at: int,
        number: int | None,
        names: Mapping[str, Any],
        about: Mapping[str, Any],
        tee: TEE | None,
    ) -> tuple[str, bytes]:
        """Signed JSON in Intel's order: times, names, number, what it is about, levels."""
        newest = self.number(_require_time(at), early=True)
        number = self.number(at) if number is None else number
        if not FIRST_NUMBER <= number <= newest:
            raise UsageError(f"no TCB evaluation data number {number}: {FIRST_NUMBER}-{newest}")
        times = {"issueDate": iso(at), "nextUpdate": iso(at + VALID_DAYS * DAY)}
        levels = self._levels("platform" if tee else subject, number)
        data = {"id": subject, "version": version, **times, **names}
        data |= {"tcbEvaluationDataNumber": number, **about}
        data["tcbLevels"] = [level.to_json(tee) for level in levels]
        text = json.dumps(data, separators=(",", ":"))
        return text, sign(self._authorities["signing"].key, text.encode())


def _require_time(at: int) -> int:
    root = PROFILES["root"]
    if not isinstance(at, int) or not root.start <= at <= root.end:
        raise UsageError(f"at={at!r} is outside the root CA's validity, {root.start}-{root.end}")
    return at
