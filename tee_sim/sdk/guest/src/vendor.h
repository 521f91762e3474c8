/* Whom this image trusts: the simulated vendor of the processor (SimulatedIntel(seed=0)). It is part of the
 * measurement, as in Open Enclave, where it is Intel: no host can put another root in its place. */
#ifndef TEE_VENDOR_H
#define TEE_VENDOR_H

/* The public key of its root certificate, x and y. */
#define VENDOR_ROOT_KEY {0}

/* Its quoting enclave: who signs it, its product number, and the flags of its ATTRIBUTES except
 * MODE64BIT: initialised, not for debugging, may have the provisioning keys. */
#define VENDOR_MRSIGNER                                                                              \
    {0xd6, 0x17, 0xb1, 0xee, 0x9f, 0x79, 0x5b, 0x83, 0x0b, 0x84, 0x93, 0x33, 0xc4, 0x84, 0xbc, 0x35, \
     0x1e, 0xf2, 0xe3, 0x07, 0xdd, 0x4b, 0x01, 0x55, 0x51, 0x88, 0x9f, 0x59, 0xee, 0xda, 0xcc, 0xe2}
#define VENDOR_QE_PRODUCT 1
#define VENDOR_QE_FLAGS 0x11ULL
#define VENDOR_QE_FLAGS_MASK (~4ULL)

#endif
