"""The scene of the attacks on attestation: a user far away, and a server whose host is hostile.

The user has a secret for a program, `attested`. Whoever convinces her gets it, encrypted to the key
in the evidence or at the other end of the connection. The host carries every message.

Three facts serve it, and none of them is a fault of attestation. Every program gets quotes, also
the host's own; here that is `reporter`, which reports whatever it is told. The host delivers the
collateral, too. And a processor as it was sold gives the attestation key away, see
`tee_sim.monitors.sgx.stale`: with it, quotes are forged that say anything.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import cache, cached_property
from hashlib import sha256
from json import dumps
from struct import pack
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec

from tee_sim.abi.image import Identity
from tee_sim.abi.quote import Quote, unwrap
from tee_sim.abi.sgx import ReportBody
from tee_sim.attest.certificates import derive_key, public_bytes, sign
from tee_sim.attest.collateral import Collateral
from tee_sim.attest.endorsements import LEVELS
from tee_sim.attest.intel import DAY, SimulatedIntel
from tee_sim.attest.policy import Policy, appraise
from tee_sim.attest.relying_party import KEY_SIZE, RelyingParty, decrypt
from tee_sim.attest.results import AttestationResult
from tee_sim.attest.tpm_endorser import TPMVendor
from tee_sim.attest.vbs import ReferenceValues, verify_vbs
from tee_sim.attest.verifier import verify_evidence
from tee_sim.attester import QuotingService, evidence_of, manufacture
from tee_sim.checks import PATCH_LEVEL
from tee_sim.errors import UsageError
from tee_sim.hypervisor.honest import Launch
from tee_sim.platform import DeployedEnclave, Platform

if TYPE_CHECKING:
    from tee_sim.services.maa import AttestationService

SGX_ECDSA = bytes.fromhex("a3a21e871b4d4014b70aa125d2fbcd8c")
"""Open Enclave's UUID of evidence that holds a quote."""
REPORT_OFFSET, HEADER = 16, 32
"""Where the report lies in what ``oe_get_report`` and ``oe_get_evidence`` return."""

PRODUCT, VERSION = 7, 2
"""Of the program `attested`: ISVPRODID, ISVSVN."""
SECRET = b"the user's secret: 31415926535897"
AUDIENCE, OTHER_AUDIENCE, ISSUER = "vault.example", "game.example", "https://attest.example"

NOW = 1_767_225_600
RECOVERY = NOW - 40 * DAY
"""When the vendor publishes that the key leaks, and which platforms have the update."""
BEFORE = RECOVERY - DAY

_OLDEST = LEVELS["platform"][1]
_AT_FIRST = {**LEVELS, "platform": (replace(_OLDEST, status="UpToDate", advisories=()),)}


def simulated_intel(seed: int = 0) -> SimulatedIntel:
    """A vendor who thought his first processors safe, until `RECOVERY`."""
    intel = SimulatedIntel(seed, _AT_FIRST)
    intel.publish("INTEL-SA-00657", at=RECOVERY, cpusvn=bytes([2] * 16))
    return intel


class Site:
    """A server that runs the user's program, and all that its host has besides.

    Args:
        tee: the platform's name.
        intel: who certified its processor; None for the vendor that the user trusts.
        server: further arguments of `Platform`.

    Attributes:
        host: the platform; its host is the adversary.
        service: its quoting service.
        enclave: the user's program, `attested`.
        key: the host's own key pair.
    """

    def __init__(
        self, tee: str = "sgx-tme", intel: SimulatedIntel | None = None, **server: Any
    ) -> None:
        self.host, self.intel = Platform(tee, **server), intel or simulated_intel()
        manufacture(self.host, self.intel)
        self.service = QuotingService(self.host, self.intel)
        self.enclave = self.host.create_enclave("attested")
        self.key = derive_key(b"the host", "a key of its own")

    def collateral(self, at: int = NOW) -> Collateral:
        """What the vendor says about this platform at a time."""
        return self.intel.collateral(self.service.pck.fmspc, self.service.pck.ca, at)

    def user(
        self, omits: Collection[str] = (), collateral: Collateral | None = None, at: int = NOW
    ) -> RelyingParty:
        """Somebody who wants her program, by its author, not too old, on a good platform.

        Args:
            omits: names of checks that she forgets to make.
            collateral: what the host gives her; None for what the vendor says at the time.
            at: when she looks at the evidence, Unix seconds.
        """
        assert self.enclave.mrsigner is not None, "SGX"
        given = collateral or self.collateral(at)
        wanted = Policy(
            signers=(self.enclave.mrsigner,), product_id=PRODUCT, minimum_version=VERSION
        )

        def opinion(evidence: bytes) -> AttestationResult:
            found = verify_evidence(evidence, given, root=simulated_intel().root_der, at=at)
            return appraise(found, wanted)

        return RelyingParty(opinion, seed=0, omits=omits)

    def token_user(self, omits: Collection[str] = (), *_: object) -> RelyingParty:
        """Somebody who takes tokens instead, and leaves the evidence to the attestation service.

        Raises:
            UsageError: what the service needs is not installed.
        """
        try:  # here: only those who use the service pay for its libraries
            from tee_sim.services.presented import appraise_token
        except ModuleNotFoundError as error:
            raise UsageError(f"{error.name} is missing: pip install '.[services]'") from None
        key = self.attestation_service.signer.key.public_key()

        def opinion(token: bytes) -> AttestationResult:
            return appraise_token(token, key, issuer=ISSUER, audience=AUDIENCE, at=NOW)

        return RelyingParty(opinion, seed=0, omits=omits)

    @cached_property
    def attestation_service(self) -> AttestationService:
        """One service for two parts of a company; its policy says whose programs are for which."""
        import jwt

        from tee_sim.services import local_ca, maa, tokens
        from tee_sim.services.appraiser import quote_appraiser, simulated_collateral

        assert self.enclave.mrsigner is not None, "SGX"
        author = f'type=="x-ms-sgx-mrsigner", value%s"{self.enclave.mrsigner.hex()}"'
        rules = "".join(
            f'c:[{author % sign}] => issue(type="aud", value="{audience}");'
            for sign, audience in (("==", AUDIENCE), ("!=", OTHER_AUDIENCE))
        )
        policy = (
            f"version=1.0;authorizationrules{{=> permit();}};issuancerules{{{rules}}};".encode()
        )
        made = maa.AttestationService(
            quote_appraiser(simulated_collateral(self.intel), self.intel.root_der),
            issuer=ISSUER,
            signer=local_ca.new_signer(),
            clock=lambda: NOW,
        )
        body = dumps({"AttestationPolicy": tokens.base64url(policy)}).encode()
        made.set_policy(jwt.PyJWS().encode(body, "", algorithm="none").encode(), "SgxEnclave")
        return made

    def bound(self, nonce: bytes) -> bytes:
        """What evidence for the host's own key binds: it looks like the claims of `attested`."""
        return nonce + public_bytes(self.key.public_key())

    def own_quote(self, claims: bytes, version: int = VERSION, *, by_author: bool = False) -> bytes:
        """A genuine quote of the program `reporter`, which reports what it is told.

        Args:
            claims: what to report the SHA-256 of.
            version: ISVSVN.
            by_author: whether the author of `attested` signed it, or the host.
        """
        reporter = self.own_program("reporter", version, by_author)
        report = reporter.report_to(self.service.get_target_info(), bound_data(claims))
        reporter.close()
        return self.service.get_quote(report[REPORT_OFFSET:])

    def own_program(self, name: str, version: int, by_author: bool = False) -> DeployedEnclave:
        """A program that calls itself `attested`, signed by the author of that one or the host."""
        program, identity = self.host.build(name), Identity(PRODUCT, version)
        signed = self.host.sign(program.image, identity, attacker=not by_author)
        launch = Launch(name, program.image, signed, identity.attributes(), identity)
        return DeployedEnclave(program, self.host.host.launch(launch), None)

    def stolen_key(self) -> ec.EllipticCurvePrivateKey | None:
        """The attestation key, out of the buffers of the processor; None if nothing is in them."""
        assert self.host.adversary.sgx is not None, "SGX"
        place = self.service.qe.physical("secret")
        number = int.from_bytes(self.host.adversary.sgx.sample(place, 32), "big")
        return ec.derive_private_key(number, ec.SECP256R1()) if number else None

    def forged_quote(self, claims: bytes) -> bytes:
        """What `attested` would say of these claims, signed with the stolen key; empty without."""
        genuine, key = Quote.parse(unwrap(evidence_of(self.enclave, b""))[0]), self.stolen_key()
        assert isinstance(genuine.body, ReportBody), "SGX"
        if key is None:
            return b""
        body = replace(genuine.body, reportdata=bound_data(claims))
        quote = replace(genuine, raw_body=body.pack())
        return replace(quote, signature=sign(key, quote.signed)).pack()

    def open(self, message: bytes) -> bytes:
        """What somebody sent to the host's own key."""
        return decrypt(message, self.key)


class VBSSite(Site):
    """The same on VBS, where evidence is a report of the secure kernel and a record of the boot.

    Simplified: the record of the boot is not carried by the host; no scenario is about it.
    """

    def __init__(self, tee: str = "vbs", **server: Any) -> None:
        self.host, self.vendor = Platform(tee, **server), TPMVendor()
        self.enclave = self.host.create_enclave("attested")
        self.key = derive_key(b"the host", "a key of its own")

    def verify(self, evidence: bytes, at: int, **wanted: Any) -> AttestationResult:
        """What is to be thought of it, down to the boot, whose record has the same nonce."""
        assert self.host.host.vbs is not None, "VBS"
        size = int.from_bytes(evidence[HEADER : HEADER + 4], "little")
        report, claims = evidence[HEADER : HEADER + size], evidence[HEADER + size :]
        nonce = claims[:-KEY_SIZE]
        boot = self.host.host.vbs.boot_evidence(nonce, self.vendor.certify)
        values = ReferenceValues(enclave_data=bound_data(claims), **wanted)
        root = self.vendor.root_der
        result = verify_vbs(report, boot, root=root, nonce=nonce, at=at, reference=values)
        return replace(result, claims={**result.claims, "custom_claims_buffer": claims})

    def user(
        self, omits: Collection[str] = (), collateral: Collateral | None = None, at: int = NOW
    ) -> RelyingParty:
        """As above; she knows from a good machine its boot, and the author of her program."""
        good = twin("vbs", PATCH_LEVEL, frozenset())
        assert isinstance(good, VBSSite)
        known = good.verify(evidence_of(good.enclave, bytes(32)), at, measurements={}).claims
        boot = {k.partition(".")[2]: [v] for k, v in known.items() if k.startswith("measurement.")}
        policy = Policy(signers=(known["signer_id"],), minimum_version=VERSION)
        return RelyingParty(
            lambda evidence: appraise(self.verify(evidence, at, measurements=boot), policy),
            seed=0,
            omits=omits,
        )

    def own_quote(self, claims: bytes, version: int = VERSION, *, by_author: bool = False) -> bytes:
        """A genuine report of the program `notary`, which reports what it is told."""
        notary = self.own_program("notary", version, by_author)
        made = notary.present(bound_data(claims))
        notary.close()
        return bytes(made.report[REPORT_OFFSET : int.from_bytes(made.report_size, "little")])


def bound_data(claims: bytes) -> bytes:
    """How a report binds custom claims, 64 bytes."""
    return sha256(claims).digest() + bytes(32)


def wrap(quote: bytes, claims: bytes) -> bytes:
    """Evidence as Open Enclave writes it: anybody can."""
    return pack("<I16s4xQ", 3, SGX_ECDSA, len(quote + claims)) + quote + claims


@cache
def simulator(tee: str) -> Site:
    """The host's own machine, or a program that behaves like one: no key in it is secret."""
    return Site(tee, simulated_intel(666), seed=666, without={"BUFFERS.CLEARED"})


@cache
def twin(tee: str, patch_level: int, without: frozenset[str]) -> Site:
    """A site on a platform of this kind.

    Simplified: attacks of the matrix run on this one, not on the very platform they are given:
    provisioning takes long, and no attack wears it out.
    """
    # Where translations survive an exit, no two enclaves can run in turn.
    kind = VBSSite if tee == "vbs" else Site
    return kind(tee, patch_level=patch_level, without=without - {"ENCLAVE.TLB_FLUSH"})
