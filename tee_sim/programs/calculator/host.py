"""A few sums, and a few mistakes."""

from struct import unpack

from tee_sim.platform import Platform

EXPRESSIONS = (
    "1 + 2 * 3",
    "-(2 ^ 3 ^ 2) / 4",
    "2 * cos(pi / 3)",
    "1 / (3 - 3)",
    "2 * (3 + ",
    "four + 4",
    "(" * 60 + "1" + ")" * 60,
)


def main(platform: Platform) -> None:
    """Evaluate each expression and print its value, or what is wrong with it."""
    calculator = platform.create_enclave("calculator")
    for expression in EXPRESSIONS:
        result, raw, message = calculator.evaluate(expression)
        error = f"{message.rstrip(bytes(1)).decode()}, at character {result}"
        print(f"{expression[:24]:24} {error if result else unpack('<d', raw)[0]}")
