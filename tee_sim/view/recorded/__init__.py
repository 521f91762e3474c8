"""From what happened on a Platform to a picture: recorded events and live objects, drawn.

The scenes of `tee_sim.view` draw plain data. Here that data comes from the machine, and it is
computed each time: from the page-table entry and the EPCM entry as they stand, from the checks
that are in force, from the events of a real access. Nothing in a picture is written by hand.

These functions look inside the processor, as no operator can. They are for the reader.
"""

from tee_sim.view.recorded.access import access_funnel, address_map
from tee_sim.view.recorded.launch import changed_records, measurement_strip, records
from tee_sim.view.recorded.run import (
    diary,
    growing_bitmap,
    plaintext,
    register_table,
    saved_registers,
)

__all__ = [
    "access_funnel",
    "address_map",
    "changed_records",
    "diary",
    "growing_bitmap",
    "measurement_strip",
    "plaintext",
    "records",
    "register_table",
    "saved_registers",
]
