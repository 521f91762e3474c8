"""A prepaid card on the host's disk: spend it, restart, spend the rest."""

from tee_sim.platform import Platform


def main(platform: Platform) -> None:
    """Use a card in two enclaves, one after the other; the host keeps the state in between."""
    disk: list[bytes] = []
    keeping = {"store": lambda state, _size: disk.append(state)}
    first = platform.create_enclave("sealed_counter", ocalls=keeping)
    first.issue(3, 1)  # sealed for this very program
    print(f"spent: {first.spend()}, uses left: {first.uses_left()}")
    readable = (2).to_bytes(4, "little") in disk[-1][:4]
    print(f"the host can read the counter on its disk: {readable}")
    first.close()

    second = platform.create_enclave("sealed_counter", ocalls=keeping)
    second.restore(disk[-1], len(disk[-1]))
    print(f"after a restart, uses left: {second.uses_left()}")
    print(f"spent: {second.spend()}, {second.spend()}, and once too often: {second.spend()}")
