/* The format of VBS evidence: the secure kernel's report, and the custom claims. Open Enclave has no such
 * format: the value is ours. */
#ifndef OE_ATTESTATION_VBS_EVIDENCE_H
#define OE_ATTESTATION_VBS_EVIDENCE_H

#define OE_FORMAT_UUID_VBS                                                                           \
    {{0x7e, 0x65, 0x65, 0x5f, 0x73, 0x69, 0x6d, 0x20, 0x76, 0x62, 0x73, 0x20, 0x72, 0x65, 0x70, 0x01}}

#endif
