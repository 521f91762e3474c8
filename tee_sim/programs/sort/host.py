"""Sort the same numbers in two ways, and count what the host can see of it: instructions."""

from struct import unpack
from typing import Any

from tee_sim.platform import Platform

ORDERS = {
    "sorted": list(range(12)),
    "reversed": list(range(12))[::-1],
    "mixed": [7, 1, 9, 4, 0, 11, 3, 8, 2, 10, 6, 5],
}


def main(platform: Platform) -> None:
    """Print how many instructions each way takes for each order."""
    enclave = platform.create_enclave("sort")
    watched: Any = enclave.on_thread(0, quantum=1)
    for name, numbers in ORDERS.items():
        counts = []
        for sort in (watched.sort_by_insertion, watched.sort_by_network):
            enclave.load(numbers, len(numbers))
            counts.append(sum(1 for _ in sort.steps()))  # a pause after each instruction
        after = unpack(f"<{len(numbers)}i", enclave.read(len(numbers)))
        print(f"{name}: by insertion {counts[0]} instructions, by a network {counts[1]}: {after}")
