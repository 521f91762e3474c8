"""Remote attestation, by the roles of RFC 9334: bytes only, never the machine."""
