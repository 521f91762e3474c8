"""TDX: what a quote says about a trust domain (TD).

Source: Intel TDX DCAP Quoting Library API, "TD Quote Body Descriptor"; offsets compared with
Intel's quote verification library (``QuoteStructures.h``) and with a real quote.

Simplified: of all of TDX only this is here. The body of TDX 1.5 with service-TD extensions (type 4)
is unknown.
"""

from tee_sim.abi.layout import Bits, Struct, at, bit, bits

QUOTE_LIBRARY = "Intel TDX DCAP Quoting Library API, "


# fmt: off
class TDAttributes(
    Bits, size=8, source='Intel TDX Module Base Architecture, "ATTRIBUTES"', reserved="ignore"
):
    """Properties that the host gave a TD; those that do not matter to a verifier are dropped."""

    tud:             int  = bits(0, 8, "TD under debug: unless zero, the host sees into the TD")
    sept_ve_disable: bool = bit(28, "a page that the host took away stops the TD; no #VE")
    migratable:      bool = bit(29, "the TD may be moved to another platform")
    pks:             bool = bit(30, "supervisor protection keys are in use")
    kl:              bool = bit(31, "Key Locker is in use")
    perfmon:         bool = bit(63, "the TD uses performance monitoring")


class TDReport10(Struct, size=584, source=QUOTE_LIBRARY + '"TD Report 1.0"'):
    """Who a TD is: the body of a quote on TDX 1.0."""

    tee_tcb_svn:    bytes        = at(0,   16, "SVN of the TDX module, its version, other SVNs")
    mrseam:         bytes        = at(16,  48, "SHA-384 of the TDX module")
    mrsignerseam:   bytes        = at(64,  48, "signer of the TDX module; zero: Intel")
    seamattributes: bytes        = at(112, 8,  "attributes of the TDX module; zero")
    tdattributes:   TDAttributes = at(120, 8,  "attributes of the TD")
    xfam:           int          = at(128, 8,  "processor state that the TD uses, as in XCR0")
    mrtd:           bytes        = at(136, 48, "SHA-384 of how the TD was built")
    mrconfigid:     bytes        = at(184, 48, "configuration that the host named")
    mrowner:        bytes        = at(232, 48, "owner that the host named")
    mrownerconfig:  bytes        = at(280, 48, "owner's configuration that the host named")
    rtmr0:          bytes        = at(328, 48, "measured at run time: firmware's configuration")
    rtmr1:          bytes        = at(376, 48, "measured at run time: boot loader and kernel")
    rtmr2:          bytes        = at(424, 48, "measured at run time: by the operating system")
    rtmr3:          bytes        = at(472, 48, "measured at run time: by applications")
    reportdata:     bytes        = at(520, 64, "what the TD wants to say")


class TDReport15(Struct, size=648, source=QUOTE_LIBRARY + '"TD Report 1.5"'):
    """Who a TD is, on TDX 1.5, where the TDX module can be updated under a running TD."""

    base:         TDReport10 = at(0,   584, "as on TDX 1.0; the TCB is that of when the TD started")
    tee_tcb_svn2: bytes      = at(584, 16,  "as tee_tcb_svn, of the module that runs now")
    mrservicetd:  bytes      = at(600, 48,  "service TDs that are bound to this TD")
# fmt: on
