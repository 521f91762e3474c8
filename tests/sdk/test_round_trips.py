"""Interfaces that hypothesis makes up, built and called: values survive the way in, out and back.

Each ecall hands its parameters to an ocall with the same ones, so that every value crosses the
border four times.
"""

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdk.bare import Bare
from tee_sim.sdk.build import build
from tee_sim.sdk.edl import TYPES, CType, Param
from tee_sim.sdk.host import Enclave
from tee_sim.sdk.image import load_program
from tee_sim.sdk.reader import parse
from tee_sim.sdk.values import record

SCALARS = sorted({t.name for t in TYPES.values() if t.kind in ("int", "uint", "float", "bool")})
COUNTS = ("uint8_t", "int", "size_t")
PROGRAM = 'name = "made"\nheap_pages = 40\nstack_pages = 8\n'


@st.composite
def members(draw: Any, types: list[str], deep: list[str]) -> str:
    """The members of a struct: scalars, arrays, earlier types, and pointers with a size."""
    lines = []
    for index in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["scalar", "array", "type", "deep"]))
        name = f"m{index}"
        if kind == "deep":
            target = draw(st.sampled_from(SCALARS + types + deep))
            lines.append(
                f"{draw(st.sampled_from(COUNTS))} n{index}; [count=n{index}] {target}* {name};"
            )
        else:
            target = (
                draw(st.sampled_from(types))
                if kind == "type" and types
                else draw(st.sampled_from(SCALARS))
            )
            dims = draw(st.sampled_from(["[3]", "[2][2]"])) if kind == "array" else ""
            lines.append(f"{target} {name}{dims};")
    return " ".join(lines)


@st.composite
def edl_files(draw: Any) -> tuple[str, str]:
    """An EDL file, and the C program for it."""
    types, deep, text = ["enum hue"], [], "enum hue { RED = 3, GREEN, BLUE = 1000 };"
    plain = [draw(st.sampled_from(SCALARS)) for _ in range(3)]
    text += f"union u0 {{ {plain[0]} a; {plain[1]} b[3]; {plain[2]} c; }};"
    types.append("union u0")
    for index in range(draw(st.integers(1, 3))):
        body = draw(members(types, deep))
        text += f"struct s{index} {{ {body} }};"
        (deep if "count=" in body else types).append(f"struct s{index}")
    ecalls, ocalls, code = "", "", '#include "made_t.h"\n'
    for index in range(draw(st.integers(1, 4))):
        every = [*SCALARS, *types, *deep]
        params = ", ".join(
            draw(st.sampled_from([
                f"{draw(st.sampled_from(SCALARS + types))} p{n}",
                f"size_t n{n}, [{how}, count=n{n}] {draw(st.sampled_from(every))}* p{n}",
                f"[{how}] {draw(st.sampled_from(types + deep))}* p{n}",
                f"[{how}] {draw(st.sampled_from(SCALARS))} p{n}[2][3]",
                f"uint16_t n{n}, [{how}, size=n{n}] void* p{n}",
                f"[in, string] const char* p{n}",
                f"[in, out, wstring] wchar_t* p{n}",
                f"[user_check] void* p{n}",
            ]))
            for n in range(draw(st.integers(1, 4)))
            for how in [draw(st.sampled_from(["in", "out", "in, out"]))]
        )  # fmt: skip
        returns = draw(st.sampled_from([*SCALARS, *types, "void"]))
        ecalls += f"public {returns} f{index}({params});"
        ocalls += f"{returns} g{index}({params});"
        (function,) = parse(f"enclave {{ {text} trusted {{ {ecalls} }}; }};").trusted[index:]
        names = ", ".join(p.name for p in function.params)
        signature = f"{returns} f{index}({', '.join(p.c for p in function.params)})"
        if returns == "void":
            code += f"{signature} {{ if (g{index}({names}) != OE_OK) oe_abort(); }}\n"
        else:
            call = f"if (g{index}(&r, {names}) != OE_OK) oe_abort();"
            code += f"{signature} {{ {returns} r; {call} return r; }}\n"
    return f"enclave {{ {text} trusted {{ {ecalls} }}; untrusted {{ {ocalls} }}; }};", code


def scalars(ctype: CType) -> st.SearchStrategy[Any]:
    if ctype.kind == "bool":
        return st.booleans()
    if ctype.kind == "float":
        return st.floats(width=8 * ctype.size, allow_nan=False)  # type: ignore[arg-type]
    if ctype.kind == "enum":
        return st.sampled_from(record(ctype))
    bits = 8 * ctype.size
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if ctype.kind == "int" else (0, 2**bits - 1)
    return st.integers(low, high)


def values(ctype: CType, dims: tuple[int, ...] = ()) -> st.SearchStrategy[Any]:
    """Values as Python gets them back."""
    if len(dims) == 1 and ctype.size == 1 and ctype.kind in ("int", "uint"):
        return st.binary(min_size=dims[0], max_size=dims[0])
    if dims:
        return st.tuples(*[values(ctype, dims[1:])] * dims[0])
    if ctype.kind == "union":
        return st.builds(
            lambda member, content: record(ctype)(content[: member.space].ljust(ctype.size, b"\0")),
            st.sampled_from(ctype.members),
            st.binary(min_size=ctype.size, max_size=ctype.size),
        )
    return structs(ctype) if ctype.kind == "struct" else scalars(ctype)


@st.composite
def structs(draw: Any, ctype: CType) -> Any:
    counts = {m.count: draw(st.integers(0, 3)) for m in ctype.members if m.pointer}
    made = {
        m.name: draw(buffers(m, counts[m.count])) if m.pointer
        else counts[m.name] if m.name in counts else draw(values(m.type, m.dims))
        for m in ctype.members
    }  # fmt: skip
    return record(ctype)(**made)


def buffers(param: Param, count: int) -> st.SearchStrategy[Any]:
    """The contents of a buffer of so many units, or NULL where it may be."""
    if param.string:
        return st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
    if not param.type.compound:
        size = count * int(param.unit)
        return st.binary(min_size=size, max_size=size)
    if param.count == 1:
        return values(param.type)
    return st.lists(values(param.type), min_size=count, max_size=count)


def room(text: str) -> str:
    """A string that fits where this one is."""
    return text[: len(text) // 2]


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), made=edl_files())
def test_values_survive_every_crossing(tmp_path_factory: Any, data: Any, made: Any) -> None:
    directory: Path = tmp_path_factory.mktemp("made")
    for file, content in (("made.edl", made[0]), ("made.c", made[1]), ("program.toml", PROGRAM)):
        (directory / file).write_text(content, encoding="utf-8")
    build(directory, "none")
    loaded = load_program(directory, "none")
    enclave = Enclave(loaded.interface, Bare(loaded), name="made")
    for ecall, ocall in zip(loaded.interface.trusted, loaded.interface.untrusted, strict=True):
        counts = {p.name: data.draw(st.integers(0, 4)) for p in ecall.params if p.name[0] == "n"}

        def content(param: Param, counts: Any = counts) -> Any:
            count = counts.get(param.count, param.count)
            return data.draw(buffers(param, count))

        sent = {
            p.name: counts[p.name] if p.name in counts
            else content(p) if p.pointer else data.draw(values(p.type, p.dims))
            for p in ecall.params if p.is_in or not p.pointer
        }  # fmt: skip
        back = [
            room(sent[p.name]) if p.string
            else shaped(data, p, sent[p.name]) if p.is_in else content(p)
            for p in ecall.params if p.is_out
        ]  # fmt: skip
        has_result = [data.draw(values(ecall.returns))] * (ecall.returns.kind != "void")
        parts = (*has_result, *back)
        seen: list[Any] = []

        def answer(*given: Any, parts: Any = parts, seen: Any = seen) -> Any:
            seen.append(given)
            return parts if len(parts) != 1 else parts[0]

        enclave.on_ocall(ocall.name, answer)
        returned = getattr(enclave, ecall.name)(*sent.values())
        assert seen == [tuple(sent.values())]
        assert returned == (parts if len(parts) > 1 else parts[0] if parts else None)


def shaped(data: Any, param: Param, sent: Any) -> Any:
    """Other contents for an [in, out] buffer, with the same sizes everywhere."""
    if not param.type.compound:
        return data.draw(st.binary(min_size=len(sent), max_size=len(sent)))
    if isinstance(sent, list):
        return [reshaped(data, param.type, item) for item in sent]
    return reshaped(data, param.type, sent)


def reshaped(data: Any, ctype: CType, sent: Any) -> Any:
    if not ctype.deep:
        return data.draw(values(ctype))
    extents = {member.count for member in ctype.members}
    return record(ctype)(*(
        sent[index] if m.name in extents
        else shaped(data, m, sent[index]) if m.pointer else data.draw(values(m.type, m.dims))
        for index, m in enumerate(ctype.members)
    ))  # fmt: skip
