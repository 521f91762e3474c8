"""The collateral service, asked by dcap-qvl's own client and by hand, over real sockets."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import unquote

import dcap_qvl
import httpx
import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.quotes import AT, FMSPC, QuotedPlatform, sgx_body, td_body
from tee_sim.attest.collateral import Collateral
from tee_sim.attest.intel import DAY, SimulatedIntel
from tee_sim.errors import UsageError
from tee_sim.services.pcs import create_app
from tee_sim.services.running import running

INTEL = SimulatedIntel()
OLD = QuotedPlatform(INTEL, cpusvn=b"\1" * 16)
CLIENT = QuotedPlatform(INTEL)
SERVER = QuotedPlatform(INTEL, "platform", name="server")
TERSE = replace(CLIENT, carries_certificates=False)
INTEL.publish("INTEL-SA-00615", at=AT - DAY, cpusvn=b"\3" * 16, standard=AT + DAY)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(create_app(INTEL, lambda: AT)) as address:
        yield address


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url) as client:
        yield client


@pytest.mark.parametrize(
    ("platform", "body", "version", "tee"),
    [
        (CLIENT, sgx_body(), 3, "sgx"),
        (TERSE, sgx_body(), 3, "sgx"),  # the client fetches the PCK certificate, too
        (SERVER, sgx_body(), 3, "sgx"),
        (SERVER, td_body(), 4, "tdx"),
    ],
)
def test_dcap_qvl_fetches_its_collateral_here(
    url: str, platform: QuotedPlatform, body: bytes, version: int, tee: str
) -> None:
    quote = platform.quote(body, version)

    async def fetch() -> dcap_qvl.QuoteCollateralV3:
        return await dcap_qvl.get_collateral(url, quote)

    fetched = asyncio.run(fetch())
    got = replace(Collateral.from_json(fetched.to_json()), pck_certificate_chain=None)
    assert got == INTEL.collateral(FMSPC, platform.ca, AT, tee)
    report = dcap_qvl.verify_with_root_ca(quote, fetched, INTEL.root_der, AT)
    assert (report.status, report.advisory_ids) == ("UpToDate", [])


PPID = f"encrypted_ppid={(CLIENT.ppid + bytes(368)).hex()}&pceid=0000"
STRANGER = f"encrypted_ppid={bytes(384).hex()}&pceid=0000"
NOT_PADDED = f"encrypted_ppid={(CLIENT.ppid + bytes([1] * 368)).hex()}&pceid=0000"
NEW, LOW = "02" * 16, "00" * 16


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("sgx/certification/v4/tcb?fmspc=00A067110000", 200),
        ("sgx/certification/v4/tcb?fmspc=00a067110000&update=early", 200),
        ("tdx/certification/v4/tcb?fmspc=00A067110000&update=standard", 200),
        ("sgx/certification/v4/tcb?fmspc=00A067110000&tcbEvaluationDataNumber=17", 200),
        ("sgx/certification/v4/tcb?fmspc=00A067110000&tcbEvaluationDataNumber=18", 200),
        ("sgx/certification/v4/tcb?fmspc=00A067110000&tcbEvaluationDataNumber=19", 404),
        ("sgx/certification/v4/tcb?fmspc=00A067110000&tcbEvaluationDataNumber=16", 410),
        ("sgx/certification/v4/tcb?fmspc=00A067110000&tcbEvaluationDataNumber=-1", 400),
        (
            "sgx/certification/v4/tcb?fmspc=00A067110000&tcbEvaluationDataNumber=18&update=early",
            400,
        ),
        ("sgx/certification/v4/tcb?fmspc=000000000000", 404),
        ("sgx/certification/v4/tcb?fmspc=00A0", 400),
        ("sgx/certification/v4/tcb?fmspc=00A067110000&update=now", 400),
        ("sgx/certification/v4/tcb", 400),
        ("sgx/certification/v4/qe/identity", 200),
        ("sgx/certification/v4/qve/identity", 200),
        ("tdx/certification/v4/qe/identity?update=standard", 200),
        ("sgx/certification/v4/qe/identity?tcbEvaluationDataNumber=1", 410),
        ("tdx/certification/v4/qve/identity", 404),
        ("sgx/certification/v4/pckcrl?ca=processor", 200),
        ("sgx/certification/v4/pckcrl?ca=platform&encoding=der", 200),
        ("sgx/certification/v4/pckcrl?ca=root", 400),
        ("sgx/certification/v4/pckcrl?ca=platform&encoding=xml", 400),
        ("sgx/certification/v4/pckcrl", 400),
        ("sgx/certification/v4/rootcacrl", 200),
        ("sgx/certification/v3/rootcacrl", 404),
        (f"sgx/certification/v4/pckcert?{PPID}&cpusvn={NEW}&pcesvn=0100", 200),
        (f"sgx/certification/v4/pckcert?{PPID}&cpusvn={LOW}&pcesvn=0100", 404),
        (f"sgx/certification/v4/pckcert?{PPID}&cpusvn={NEW}&pcesvn=0000", 404),
        (f"sgx/certification/v4/pckcert?{STRANGER}&cpusvn={NEW}&pcesvn=0100", 404),
        (f"sgx/certification/v4/pckcert?{NOT_PADDED}&cpusvn={NEW}&pcesvn=0100", 404),
        (f"sgx/certification/v4/pckcert?{PPID}&cpusvn={NEW}&pcesvn=1", 400),
        (f"sgx/certification/v4/pckcert?{PPID}", 400),
        (f"sgx/certification/v4/pckcerts?{PPID}", 200),
        (f"sgx/certification/v4/pckcerts?{STRANGER}", 404),
        (f"sgx/certification/v4/pckcerts?{PPID[:-4]}0100", 404),
        ("sgx/certification/v4/pckcerts?encrypted_ppid=00&pceid=0000", 400),
        ("", 404),
    ],
)
def test_paths_and_statuses_are_intels(client: httpx.Client, path: str, status: int) -> None:
    assert client.get(f"/{path}").status_code == status


PATHS = ("pckcert", "pckcerts", "pckcrl", "rootcacrl", "tcb", "qe/identity", "qve/identity")
PARAMETERS = ("encrypted_ppid", "cpusvn", "pcesvn", "pceid", "ca", "encoding", "fmspc", "update")
PIECES = st.sampled_from(["0" * 4, "0" * 12, "2" * 32, "0" * 768, "early", "processor", "der", "9"])


@given(
    st.sampled_from(PATHS),
    st.dictionaries(
        st.sampled_from([*PARAMETERS, "tcbEvaluationDataNumber"]),
        PIECES | st.text(max_size=20) | st.integers().map(str),
    ),
)
@settings(max_examples=60)
def test_whatever_is_asked_the_answer_has_a_status_of_intels(
    client: httpx.Client, path: str, query: dict[str, str]
) -> None:
    answer = client.get(f"/sgx/certification/v4/{path}", params=query)
    assert answer.status_code in (200, 400, 404, 410)


CHAINS = [
    ("tcb?fmspc=00A067110000", "TCB-Info-Issuer-Chain", "signing"),
    ("qe/identity", "SGX-Enclave-Identity-Issuer-Chain", "signing"),
    ("pckcrl?ca=platform", "SGX-PCK-CRL-Issuer-Chain", "platform"),
    (f"pckcerts?{PPID}", "SGX-PCK-Certificate-Issuer-Chain", "processor"),
]


@pytest.mark.parametrize(("path", "header", "name"), CHAINS)
def test_issuer_chains_are_in_the_headers(
    client: httpx.Client, path: str, header: str, name: str
) -> None:
    answer = client.get(f"/sgx/certification/v4/{path}")
    assert unquote(answer.headers[header]) == INTEL.issuer_chain(name)


@pytest.mark.parametrize(
    ("raw", "certified"), [("02" * 16, CLIENT), ("ff" * 16, CLIENT), ("01" + "02" * 15, OLD)]
)
def test_a_platform_gets_the_certificate_of_its_tcb(
    client: httpx.Client, raw: str, certified: QuotedPlatform
) -> None:
    answer = client.get(f"/sgx/certification/v4/pckcert?{PPID}&cpusvn={raw}&pcesvn=0200")
    chain = answer.text + unquote(answer.headers["SGX-PCK-Certificate-Issuer-Chain"])
    assert chain == certified.chain
    assert answer.headers["SGX-TCBm"] == certified.cpusvn.hex() + "0100"
    assert answer.headers["SGX-FMSPC"] == FMSPC.hex().upper()
    assert answer.headers["SGX-PCK-Certificate-CA-Type"] == "processor"


def test_all_certificates_of_a_platform_are_listed(client: httpx.Client) -> None:
    rows = client.get(f"/sgx/certification/v4/pckcerts?{PPID}").json()
    assert [row["tcbm"] for row in rows] == [p.cpusvn.hex() + "0100" for p in (CLIENT, OLD)]
    assert [row["tcb"]["sgxtcbcomp16svn"] for row in rows] == [2, 1]
    for row, platform in zip(rows, (CLIENT, OLD), strict=True):
        assert platform.chain.startswith(unquote(row["cert"]))


def test_early_tcb_info_knows_more_than_the_standard_one(client: httpx.Client) -> None:
    def statuses(query: str) -> list[str]:
        answer = client.get(f"/sgx/certification/v4/tcb?fmspc=00A067110000{query}")
        return [level["tcbStatus"] for level in answer.json()["tcbInfo"]["tcbLevels"]]

    assert statuses("") == statuses("&update=standard") == ["UpToDate", "OutOfDate"]
    assert statuses("&update=early") == ["UpToDate", "OutOfDate", "OutOfDate"]
    assert statuses("&tcbEvaluationDataNumber=17") == statuses("")


def test_a_revocation_list_is_the_same_in_both_encodings(client: httpx.Client) -> None:
    path = "/sgx/certification/v4/pckcrl?ca=platform"
    pem, der = client.get(path), client.get(f"{path}&encoding=der")
    assert pem.headers["Content-Type"].startswith("application/x-pem-file")
    assert der.headers["Content-Type"] == "application/pkix-crl"
    assert x509.load_pem_x509_crl(pem.content) == x509.load_der_x509_crl(der.content)


def test_answers_are_signed_to_the_byte(client: httpx.Client) -> None:
    answer = client.get("/tdx/certification/v4/qe/identity")
    text, signature = INTEL.identity("TD_QE", AT)
    assert answer.text == f'{{"enclaveIdentity":{text},"signature":"{signature.hex()}"}}'
    assert json.loads(text)["id"] == "TD_QE"


def test_a_port_is_free_again_afterwards_and_refused_while_it_is_taken() -> None:
    with running(create_app(INTEL, lambda: AT)) as address:
        port = int(address.rpartition(":")[2])
        with (
            pytest.raises(UsageError, match=f"port {port}"),
            running(create_app(INTEL, lambda: AT), port=port),
        ):
            pass
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)


def test_a_service_that_cannot_start_says_so() -> None:
    with (
        pytest.raises(UsageError, match="cannot speak TLS"),
        running(create_app(INTEL, lambda: AT), certificate="no such file", key="nor this"),
    ):
        pass
