"""The simulated Intel, judged by an independent verifier: dcap-qvl."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace

import dcap_qvl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.quotes import (
    AT,
    FMSPC,
    QuotedPlatform,
    SimulatedQuote,
    raw_key,
    sgx_body,
    simulated_quotes,
    what_counts,
)
from tee_sim.attest.certificates import (
    NETSCAPE_COMMENT,
    PCK,
    SGX_EXTENSION,
    SIMULATED,
    derive_key,
)
from tee_sim.attest.collateral import Collateral
from tee_sim.attest.endorsements import MRSIGNER, iso
from tee_sim.attest.intel import DAY, ROOT_CRL_DAYS, VALID_DAYS, SimulatedIntel
from tee_sim.errors import UsageError
from tee_sim.monitors.sgx.processor import cpusvn
from tee_sim.monitors.sgx.sigstruct import load_vendor_key
from vectors import vector

QUOTES = simulated_quotes()
ALL_QUOTES = pytest.mark.parametrize("given_quote", QUOTES, ids=lambda quote: quote.name)
PEM = re.compile(r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\n")
NAMES = ("SGX Root", "PCK Processor", "PCK Platform", "TCB Signing", "PCK Certificate")


def verdict(
    quote: bytes, collateral: Collateral, root_der: bytes, at: int
) -> tuple[str, list[str]]:
    """What dcap-qvl says.

    Raises:
        ValueError: it refuses.
    """
    given = dcap_qvl.QuoteCollateralV3.from_json(collateral.to_json())
    report = dcap_qvl.verify_with_root_ca(quote, given, root_der, at)
    return report.status, report.advisory_ids


def verdict_on(
    platform: QuotedPlatform, issued: int, at: int | None = None, *, early: bool = False
) -> tuple[str, list[str]]:
    """What dcap-qvl says about a quote of the platform, with collateral that was issued then."""
    intel = platform.intel
    collateral = intel.collateral(FMSPC, platform.ca, issued, early=early)
    return verdict(platform.quote(sgx_body()), collateral, intel.root_der, at or issued)


@ALL_QUOTES
def test_dcap_qvl_accepts_a_quote_under_the_simulated_root(given_quote: SimulatedQuote) -> None:
    _, quote, collateral, root_der, at, status, advisories = given_quote
    assert verdict(quote, collateral, root_der, at) == (status, advisories)


@ALL_QUOTES
def test_dcap_qvl_refuses_it_under_intels_root(given_quote: SimulatedQuote) -> None:
    collateral = dcap_qvl.QuoteCollateralV3.from_json(given_quote.collateral.to_json())
    with pytest.raises(ValueError, match="InvalidCrlSignatureForPublicKey"):
        dcap_qvl.verify(given_quote.quote, collateral, given_quote.at)


def test_dcap_qvl_refuses_it_under_the_root_of_another_seed() -> None:
    _, quote, collateral, _, at, _, _ = QUOTES[0]
    with pytest.raises(ValueError, match="InvalidCrlSignatureForPublicKey"):
        verdict(quote, collateral, SimulatedIntel(seed=1).root_der, at)


@pytest.mark.parametrize("name", ["client SGX", "TD 1.0, v4", "TD 1.5, v5"])
def test_no_byte_of_a_quote_can_be_changed(name: str) -> None:
    found = next(quote for quote in QUOTES if quote.name == name)
    counting = what_counts(found.quote)

    @given(st.sampled_from(counting), st.integers(1, 255))
    @settings(max_examples=200)
    def changed(position: int, difference: int) -> None:
        data = bytearray(found.quote)
        data[position] ^= difference
        with pytest.raises(ValueError, match=r"."):
            verdict(bytes(data), found.collateral, found.root_der, found.at)

    changed()


SIGNED = ["root_ca_crl", "pck_crl", "tcb_info", "tcb_info_signature", "qe_identity"]


@pytest.mark.parametrize("field", [*SIGNED, "qe_identity_signature"])
@pytest.mark.parametrize("name", ["client SGX", "TD 1.0, v4"])
def test_no_byte_of_collateral_can_be_changed(name: str, field: str) -> None:
    found = next(quote for quote in QUOTES if quote.name == name)
    value = getattr(found.collateral, field)
    size = len(value)

    @given(st.integers(0, size - 1), st.integers(1, 127))
    @settings(max_examples=40)
    def changed(position: int, difference: int) -> None:
        data = bytearray(value.encode() if isinstance(value, str) else value)
        data[position] ^= difference
        other = data.decode() if isinstance(value, str) else bytes(data)
        with pytest.raises(ValueError, match=r"."):
            verdict(
                found.quote, replace(found.collateral, **{field: other}), found.root_der, found.at
            )

    changed()


def test_the_same_seed_gives_the_same_bytes_and_no_seed_gives_others() -> None:
    def bytes_of(seed: int | None) -> tuple[object, ...]:
        intel = SimulatedIntel(seed)
        platform = QuotedPlatform(intel)
        return (intel.root_der, platform.quote(sgx_body()), intel.collateral(FMSPC, "platform", AT))

    assert bytes_of(0) == bytes_of(0)
    assert not {*bytes_of(0)} & {*bytes_of(1)}
    assert not {*bytes_of(None)} & {*bytes_of(None)}


def certificates(chain: str) -> list[x509.Certificate]:
    """The certificates of a PEM chain."""
    return x509.load_pem_x509_certificates(chain.encode())


@pytest.mark.parametrize("ca", ["processor", "platform"])
def test_each_certificate_is_issued_by_the_next_and_says_that_it_is_simulated(ca: str) -> None:
    intel = SimulatedIntel()
    chains = [
        QuotedPlatform(intel, ca).chain,
        intel.issuer_chain(ca),
        intel.issuer_chain("signing"),
    ]
    for chain in map(certificates, chains):
        for certificate, issuer in zip(chain, [*chain[1:], chain[-1]], strict=True):
            certificate.verify_directly_issued_by(issuer)
            comment = certificate.extensions.get_extension_for_oid(NETSCAPE_COMMENT)
            assert comment.value.value.endswith(SIMULATED)


@pytest.mark.parametrize(("name", "ca"), [("sgx_quote", "processor"), ("tdx_quote", "platform")])
def test_certificates_differ_from_intels_in_keys_and_times_only(name: str, ca: str) -> None:
    real_chains = [vector(f"dcap/{name}").decode("latin-1")]
    real_chains.append(vector(f"dcap/{name}_collateral.json").decode().replace("\\n", "\n"))
    intel = SimulatedIntel()
    ours = certificates(QuotedPlatform(intel, ca).chain + intel.issuer_chain("signing"))
    by_subject = {certificate.subject: certificate for certificate in ours}
    for text in real_chains:
        for real in certificates("".join(PEM.findall(text))):
            mine = by_subject[real.subject]
            assert mine.issuer.public_bytes() == real.issuer.public_bytes()
            kinds = [extension.oid for extension in real.extensions]
            assert [extension.oid for extension in mine.extensions] == [*kinds, NETSCAPE_COMMENT]
            for kind in (x509.KeyUsage, x509.BasicConstraints, x509.CRLDistributionPoints):
                wanted = real.extensions.get_extension_for_class(kind)
                assert mine.extensions.get_extension_for_class(kind) == wanted


@pytest.mark.parametrize(("name", "ca"), [("sgx_quote", "processor"), ("tdx_quote", "platform")])
def test_the_sgx_extension_is_intels_byte_for_byte(name: str, ca: str) -> None:
    text = PEM.findall(vector(f"dcap/{name}").decode("latin-1"))[0]
    extension = certificates(text)[0].extensions.get_extension_for_oid(SGX_EXTENSION).value.value
    real = dcap_qvl.parse_pck_extension_from_pem(text.encode())
    about = (real.ppid, real.cpu_svn, real.pce_svn, real.pce_id, real.fmspc)
    mine = PCK(*about, ca, True, True, True).extension()
    if real.platform_instance_id:  # Intel draws it
        ours = hashlib.sha256(b"platform instance|" + real.ppid).digest()[:16]
        mine = mine.replace(ours, real.platform_instance_id)
    assert mine == extension


def test_a_tcb_recovery_makes_yesterdays_platform_out_of_date() -> None:
    intel = SimulatedIntel()
    platform = QuotedPlatform(intel)
    updated = QuotedPlatform(intel, cpusvn=b"\3" * 16)
    intel.publish("INTEL-SA-00615", at=AT, cpusvn=b"\3" * 16)
    assert verdict_on(platform, AT - 1) == ("UpToDate", [])
    assert verdict_on(platform, AT) == ("OutOfDate", ["INTEL-SA-00615"])
    assert verdict_on(updated, AT) == ("UpToDate", [])
    # Who holds on to yesterday's collateral does not know: that is why it expires.
    assert verdict_on(platform, AT - 1, AT + DAY) == ("UpToDate", [])


def test_early_updates_tell_of_an_advisory_before_the_others_do() -> None:
    platform = QuotedPlatform(SimulatedIntel())
    platform.intel.publish("INTEL-SA-00615", at=AT, cpusvn=b"\3" * 16, standard=AT + DAY)
    late = ("OutOfDate", ["INTEL-SA-00615"])
    assert verdict_on(platform, AT, early=True) == late
    assert verdict_on(platform, AT + DAY - 1) == ("UpToDate", [])
    assert verdict_on(platform, AT + DAY) == late


def test_an_advisory_builds_on_what_is_published_early_only() -> None:
    intel = SimulatedIntel()
    intel.publish("INTEL-SA-00615", at=AT, cpusvn=b"\3" * 16, standard=AT + DAY)
    intel.publish("INTEL-SA-00657", at=AT, pcesvn=2, standard=AT + DAY)
    assert verdict_on(QuotedPlatform(intel, cpusvn=b"\3" * 16, pcesvn=2), AT, early=True) == (
        "UpToDate",
        [],
    )
    assert verdict_on(QuotedPlatform(intel, pcesvn=2), AT, early=True) == (
        "OutOfDate",
        ["INTEL-SA-00615", "INTEL-SA-00657"],
    )


def test_advisories_that_no_update_fixes_add_up_on_one_level() -> None:
    platform = QuotedPlatform(SimulatedIntel())
    for name in ("INTEL-SA-00334", "INTEL-SA-00615"):
        platform.intel.publish(name, at=AT, status="SWHardeningNeeded")
    both = ["INTEL-SA-00334", "INTEL-SA-00615"]
    assert verdict_on(platform, AT) == ("SWHardeningNeeded", both)
    levels = json.loads(platform.intel.tcb_info(FMSPC, AT)[0])["tcbLevels"]
    assert [level["tcbStatus"] for level in levels] == ["SWHardeningNeeded", "OutOfDate"]


def test_certificates_of_one_key_differ_by_serial_number() -> None:
    key, intel = raw_key(derive_key(b"", "PCK")), SimulatedIntel()
    chains = [intel.certify(key, **(GOOD | {"pcesvn": pcesvn})) for pcesvn in (1, 2)]
    assert len({certificates(chain)[0].serial_number for chain in chains}) == 2


def test_the_number_of_a_revocation_list_counts_the_revocations() -> None:
    platform = QuotedPlatform(SimulatedIntel())
    platform.intel.revoke(platform.chain, at=AT)
    for at, number in ((AT - 1, 1), (AT, 2)):
        crl = x509.load_der_x509_crl(platform.intel.crl("processor", at))
        assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == number


def test_what_is_revoked_is_refused_from_then_on() -> None:
    for which in (0, 1):  # the PCK certificate, and its CA's
        platform = QuotedPlatform(SimulatedIntel())
        other = QuotedPlatform(platform.intel, name="neighbour")
        platform.intel.revoke("".join(PEM.findall(platform.chain)[which:]), at=AT)
        assert verdict_on(platform, AT - 1) == ("UpToDate", [])
        with pytest.raises(ValueError, match="CertRevoked"):
            verdict_on(platform, AT)
        if which == 0:
            assert verdict_on(other, AT) == ("UpToDate", [])


@pytest.mark.parametrize(
    ("issued", "at", "accepted"),
    [
        (AT, AT + VALID_DAYS * DAY - 1, True),
        (AT, AT + VALID_DAYS * DAY + 1, False),
        (AT, AT - 1, False),
        (1924991999, 1924991999, True),  # the last second of PCK and TCB signing certificates
        (1924992000, 1924992000, False),
    ],
)
def test_what_has_expired_is_refused(issued: int, at: int, accepted: bool) -> None:
    platform = QuotedPlatform(SimulatedIntel())
    if accepted:
        assert verdict_on(platform, issued, at) == ("UpToDate", [])
    else:
        with pytest.raises(ValueError, match=r"TCBInfo expired|in the future|CertExpired"):
            verdict_on(platform, issued, at)


def test_the_intel_of_the_platforms_is_this_one() -> None:
    modulus = load_vendor_key().public_key().public_numbers().n.to_bytes(384, "little")
    assert hashlib.sha256(modulus).hexdigest().upper() == MRSIGNER
    statuses = [
        verdict_on(QuotedPlatform(SimulatedIntel(), cpusvn=cpusvn(level)), AT)[0]
        for level in (0, 1)
    ]
    assert statuses == ["OutOfDate", "UpToDate"]


ADVISORY = "INTEL-SA-00615"
Act = Callable[[SimulatedIntel], object]


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda i: i.publish(ADVISORY, at=AT), "no SVN rises"),
        (lambda i: i.publish(ADVISORY, at=AT, cpusvn=b"\1" * 16), "never lowers"),
        (lambda i: i.publish(ADVISORY, at=AT, cpusvn=b"\3" * 15), "16 SVNs"),
        (lambda i: i.publish(ADVISORY, at=AT, pcesvn=1 << 16), "0-65535"),
        (lambda i: i.publish(ADVISORY, at=AT, pcesvn=1.5), "0-65535"),
        (lambda i: i.publish(ADVISORY, at=AT, isvsvn=2), "no SVN named 'isvsvn'"),
        (lambda i: i.publish(ADVISORY, at=AT, subject="PCE", isvsvn=2), "no subject"),
        (lambda i: i.publish(ADVISORY, at=AT, status="Fine", pcesvn=2), "no TCB status"),
        (lambda i: i.publish(ADVISORY, at=0, pcesvn=2), "validity"),
        (lambda i: i.publish(ADVISORY, at=AT, standard=AT - 1, pcesvn=2), "never go back"),
        (lambda i: [i.publish(ADVISORY, at=a, pcesvn=2) for a in (AT + DAY, AT)], "never go back"),
        (
            lambda i: [
                i.publish(ADVISORY, at=AT + DAY, pcesvn=2, standard=s) for s in (AT + 2 * DAY, None)
            ],
            "never go back",
        ),
        (lambda i: i.revoke("no PEM", at=AT), "PEM form"),
        (lambda i: i.revoke(SimulatedIntel(1).issuer_chain("signing"), at=AT), "another root"),
        (lambda i: i.collateral(b"\1" * 6, "processor", AT), "FMSPC 010101010101"),
        (lambda i: i.revoke(5, at=AT), "PEM form"),
        (lambda i: i.collateral("00A067110000", "processor", AT), "6 bytes"),
        (lambda i: i.collateral(FMSPC, "processor", "now"), "validity"),
        (lambda i: i.collateral(FMSPC, "root", AT), "no PCK CA"),
        (lambda i: i.collateral(FMSPC, "processor", AT, "sev"), "no TEE"),
        (lambda i: i.collateral(FMSPC, "processor", 1 << 40), "validity"),
        (lambda i: i.tcb_info(FMSPC, AT, number=18), "17-17"),
        (lambda i: i.identity("PCE", AT), "no enclave"),
        (lambda i: i.crl("signing", AT), "no revocation list"),
        (lambda i: i.crl("root", "now"), "validity"),
        (lambda i: i.issuer_chain("PCE"), "no issuer"),
    ],
)
def test_nonsense_is_refused_and_changes_nothing(act: Act, reason: str) -> None:
    intel = SimulatedIntel()
    QuotedPlatform(intel)
    before = intel.collateral(FMSPC, "processor", AT)
    with pytest.raises(UsageError, match=reason):
        act(intel)
    assert intel.collateral(FMSPC, "processor", AT) == before


GOOD = {"ppid": bytes(16), "cpusvn": bytes(16), "pcesvn": 1, "fmspc": FMSPC, "pceid": bytes(2)}


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        (bytes(64), {}),
        (b"", {}),
        (None, {}),
        *[(None, {name: b""}) for name in ("ppid", "cpusvn", "fmspc", "pceid")],
        (None, {"pcesvn": 1 << 16}),
        (None, {"pcesvn": -1}),
        (None, {"ca": "root"}),
        (None, {"ca": []}),
        (None, {"pcesvn": "1"}),
    ],
)
def test_a_certificate_is_never_made_of_nonsense(key: bytes | None, bad: dict[str, object]) -> None:
    good_key = raw_key(derive_key(b"", "PCK"))
    if key is None and not bad:
        assert SimulatedIntel().certify(good_key, **GOOD)
        return
    with pytest.raises(UsageError):
        SimulatedIntel().certify(good_key if key is None else key, **(GOOD | bad))


@given(
    st.lists(
        st.tuples(
            st.binary(min_size=16, max_size=16),
            st.sampled_from(["UpToDate", "SWHardeningNeeded", "ConfigurationNeeded"]),
        ),
        max_size=4,
    )
)
@settings(max_examples=50)
def test_advisories_only_ever_lower_what_a_platform_is_worth(
    published: list[tuple[bytes, str]],
) -> None:
    worth = {"OutOfDate": 0, "OutOfDateConfigurationNeeded": 0, "UpToDate": 2}
    platform = QuotedPlatform(SimulatedIntel())
    status, advisories = "UpToDate", []
    for day, (svns, word) in enumerate(published):
        name = f"INTEL-SA-{day:05}"
        raised = bytes(svn % 3 + 2 * day for svn in svns)
        try:
            platform.intel.publish(name, at=AT + day, cpusvn=raised, status=word)
        except UsageError:
            continue
        now, names = verdict_on(platform, AT + day)
        assert worth.get(now, 1) <= worth.get(status, 1)
        assert names == [*advisories, name]
        status, advisories = now, names


def test_collateral_says_when_it_was_issued() -> None:
    intel = SimulatedIntel()
    QuotedPlatform(intel)
    collateral = intel.collateral(FMSPC, "processor", AT)
    for text in (collateral.tcb_info, collateral.qe_identity):
        assert f'"issueDate":"{iso(AT)}","nextUpdate":"{iso(AT + VALID_DAYS * DAY)}"' in text
    for data, days in ((collateral.root_ca_crl, ROOT_CRL_DAYS), (collateral.pck_crl, VALID_DAYS)):
        crl = x509.load_der_x509_crl(data)
        assert crl.last_update_utc.timestamp() == AT
        assert crl.next_update_utc.timestamp() == AT + days * DAY


def test_keys_are_of_the_curve_and_differ_by_purpose() -> None:
    keys = [derive_key(b"secret", purpose) for purpose in ("one", "two")]
    assert all(isinstance(key.curve, ec.SECP256R1) for key in keys)
    assert raw_key(keys[0]) != raw_key(keys[1])
