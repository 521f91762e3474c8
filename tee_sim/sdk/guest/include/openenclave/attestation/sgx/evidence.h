/* The formats of SGX evidence. Values are those of the Open Enclave SDK. */
#ifndef OE_ATTESTATION_SGX_EVIDENCE_H
#define OE_ATTESTATION_SGX_EVIDENCE_H

/* A quote, and the custom claims. */
#define OE_FORMAT_UUID_SGX_ECDSA                                                                     \
    {{0xa3, 0xa2, 0x1e, 0x87, 0x1b, 0x4d, 0x40, 0x14, 0xb7, 0x0a, 0xa1, 0x25, 0xd2, 0xfb, 0xcd, 0x8c}}

/* A report of the processor for one enclave on it, and the custom claims. */
#define OE_FORMAT_UUID_SGX_LOCAL_ATTESTATION                                                         \
    {{0x09, 0x26, 0x8c, 0x33, 0x6e, 0x0b, 0x45, 0xe5, 0x8a, 0x27, 0x15, 0x64, 0x4d, 0x0e, 0xf8, 0x9a}}

#endif
