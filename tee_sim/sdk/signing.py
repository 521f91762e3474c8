"""Signing programs, as their author does it and as a host does it with one of its own.

Every key is a published teaching key: it protects nothing.
"""

from __future__ import annotations

from functools import lru_cache

from tee_sim.abi.image import PLAIN, Identity, Image, measure
from tee_sim.abi.sgx import AttributesMask, PageType
from tee_sim.abi.sgx_sign import SIGSTRUCT
from tee_sim.abi.vbs_image import PRIMARY_IMAGE, EnclaveConfig, PolicyFlags
from tee_sim.monitors.sgx.sigstruct import load_attacker_key, load_signing_key, sign
from tee_sim.monitors.vbs.enclave import ImageSignature, sign_image
from tee_sim.monitors.vbs.secure_kernel import GRANULE, RETIRED_IMAGE_ID
from tee_sim.units import align_up

ALL_BITS = (1 << 64) - 1

FIRST_RELEASE, SECOND_RELEASE = (
    Identity(isvextprodid=RETIRED_IMAGE_ID, isvsvn=svn) for svn in (1, 2)
)
"""Two releases of one product. Updates of the secure kernel know a hole in the first."""


@lru_cache(maxsize=256)
def signature(
    mrenclave: bytes, debug: bool = False, attacker: bool = False, identity: Identity = PLAIN
) -> SIGSTRUCT:
    """A SIGSTRUCT for a measurement, by a published teaching key: the author's, or the host's."""
    return sign(
        mrenclave,
        load_attacker_key() if attacker else load_signing_key(),
        attributes=identity.attributes(debug=debug),
        miscselect=identity.miscselect,
        attributemask=AttributesMask(flags=ALL_BITS, xfrm=ALL_BITS),
        isvprodid=identity.isvprodid,
        isvsvn=identity.isvsvn,
        isvfamilyid=identity.isvfamilyid,
        isvextprodid=identity.isvextprodid,
    )


@lru_cache(maxsize=256)
def image_signature(
    image: Image, identity: Identity = PLAIN, debug: bool = False, attacker: bool = False
) -> ImageSignature:
    """The signature of an image for VBS, by a published teaching key: the author's, or the host's.

    The product is the image id; a program that has no other takes its number.
    """
    product = identity.isvprodid.to_bytes(16, "little")
    config = EnclaveConfig(
        config_size=EnclaveConfig.SIZE,
        minimum_config_size=EnclaveConfig.SIZE,
        policy_flags=PolicyFlags(debuggable=debug, strict_memory=identity.strict_memory),
        family_id=identity.isvfamilyid,
        image_id=identity.isvextprodid if any(identity.isvextprodid) else product,
        security_version=identity.isvsvn,
        enclave_size=align_up(image.size, GRANULE),
        number_of_threads=sum(page.page_type == PageType.TCS for page in image.pages),
        enclave_flags=PRIMARY_IMAGE,
    )
    key = load_attacker_key() if attacker else load_signing_key()
    return sign_image(config, measure(image), key)
