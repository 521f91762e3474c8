"""Hello, from both sides."""

from tee_sim.platform import Platform


def main(platform: Platform) -> None:
    """Start the program and have it greet."""
    outside = {"host_greets": lambda name: print(f"Hello {name}, from the host.")}
    hello = platform.create_enclave("hello", ocalls=outside)
    hello.greet("world")
