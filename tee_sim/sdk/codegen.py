"""Writes the C code that carries calls across the border, from an Interface.

Arguments travel in a *marshalling struct* in untrusted memory: the return value, then each
parameter in order, each in a slot that begins at a multiple of 8 bytes. A buffer's slot holds its
untrusted address; a string takes a second slot for its length in bytes, the NUL included. Then
come, where they are needed, the host's errno and where in the arena room for outputs begins.

Each generated ecall does the same steps in the same order: copy the struct in, once; for each
buffer compute its size, check that it lies outside, make room inside, copy it in; call; copy the
outputs out; clear and free. The steps themselves are in ``guest/src/marshal.c``. What they need to
know of a structure (gaps between its members, pointers to follow) stands in a table beside it.

Simplified: writes to host memory are not aligned and padded to 8 bytes, as the mitigation of stale
data from memory-mapped devices asks of a real enclave.
"""

from __future__ import annotations

from collections.abc import Iterator

from tee_sim.sdk import services
from tee_sim.sdk.edl import CType, Extent, Function, Interface, Param

_NOTE = "/* Generated from {name}.edl by tee_sim.sdk.codegen. Do not edit: edit the EDL file. */"

_HEADER = """\
{note}
#ifndef {guard}
#define {guard}

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "openenclave/enclave.h"
{includes}

#ifdef __cplusplus
extern "C" {{
#endif

{types}
/* Ecalls: the program defines these. */
{ecalls}

/* Ocalls: the program calls these; the result says whether the call took place. */
{ocalls}

#ifdef __cplusplus
}}
#endif

#endif
"""

_INDENT = "    "


def header(interface: Interface, name: str) -> str:
    """``<name>_t.h``: types, prototypes of the ecalls to write, and of the ocalls to call."""
    ecalls = [f"{f.returns.name} {f.name}({_ecall_params(f)});" for f in interface.trusted]
    ocalls = [f"oe_result_t {f.name}({_ocall_params(f)});" for f in interface.untrusted]
    types = [line for ctype in interface.types for line in _declare_type(ctype)]
    return _HEADER.format(
        note=_NOTE.format(name=name),
        guard=f"{name.upper()}_T_H",
        includes="\n".join(f'#include "{file}"' for file in interface.includes),
        types="\n".join(types),
        ecalls="\n".join(ecalls),
        ocalls="\n".join(ocalls),
    )


def source(interface: Interface, name: str) -> str:
    """``<name>_t.c``: the tables of types, the ecall wrappers, the dispatcher and the ocalls."""
    parts = [
        _NOTE.format(name=name) + f'\n#include "{name}_t.h"\n#include "tee/runtime.h"',
        "#include <errno.h>\n#include <string.h>",
    ]
    parts += ["\n".join(_table(ctype)) for ctype in interface.types if ctype.compound]
    parts += ["\n".join(_ecall(f)) for f in interface.trusted]
    parts.append("\n".join(_dispatcher(interface)))
    parts += ["\n".join(_ocall(f)) for f in (*interface.untrusted, *services.ocalls())]
    return "\n\n".join(parts) + "\n"


def needs_struct(function: Function) -> bool:
    """Whether a call of this function has a marshalling struct at all."""
    return bool(function.params) or function.returns.kind != "void" or function.propagates_errno


def _declare_type(ctype: CType) -> Iterator[str]:
    kind, _, name = ctype.name.partition(" ")
    if name:
        yield f"typedef {ctype.name} {name};"
    lines = [f"{value} = {number}," for value, number in ctype.values]
    lines += [f"{member.c};" for member in ctype.members]
    yield f"{kind} {name}".rstrip() + " {"
    yield from (_INDENT + line for line in lines)
    yield "};"
    yield ""


def _table(ctype: CType) -> Iterator[str]:
    """What the runtime has to know of a structure."""
    name = ctype.name.partition(" ")[2]
    gaps = [f"{{{at}, {size}}}" for at, size in ctype.gaps]
    members = [_member_row(ctype, at, member) for at, member in ctype.deep]
    yield f'_Static_assert(sizeof({ctype.name}) == {ctype.size}, "{ctype.name}");'
    for row, rows in (("gap", gaps), ("member", members)):
        if rows:
            yield f"static const tee_{row}_t tee_{row}s_{name}[] = {{{', '.join(rows)}}};"
    if gaps or members:
        lists = [
            f"tee_{row}s_{name}" if rows else "0"
            for row, rows in (("gap", gaps), ("member", members))
        ]
        numbers = f"{ctype.size}, {len(gaps)}, {len(members)}"
        yield f"static const tee_type_t tee_type_{name} = {{{numbers}, {', '.join(lists)}}};"


def _member_row(ctype: CType, at: int, member: Param) -> str:
    def extent(value: Extent) -> str:
        if isinstance(value, int):
            return f"{{0, 0, {value}u}}"
        where, other = next((a, m) for a, m in ctype.placed if m.name == value)
        return f"{{{where}, {other.type.size}, 0}}"

    return f"{{{at}, {_type_of(member.type)}, {{{extent(member.count)}, {extent(member.unit)}}}}}"


def _type_of(ctype: CType) -> str:
    """C expression: the table of a type, if it has one."""
    name = ctype.name.partition(" ")[2]
    return f"&tee_type_{name}" if ctype.compound and (ctype.gaps or ctype.deep) else "0"


def _ecall_params(function: Function) -> str:
    return ", ".join(param.c for param in function.params) or "void"


def _ocall_params(function: Function) -> str:
    retval = [] if function.returns.kind == "void" else [f"{function.returns.name}* _retval"]
    return ", ".join(retval + [param.c for param in function.params]) or "void"


def _struct(function: Function) -> Iterator[str]:
    """The marshalling struct, and a record for each buffer."""
    yield f"{_INDENT}struct {{"
    yield f"{_INDENT * 2}{_slot(function.returns)} retval TEE_SLOT;"
    for param in function.params:
        slot = "uint64_t" if param.pointer else _slot(param.type)
        yield f"{_INDENT * 2}{slot} {param.name} TEE_SLOT;"
        if param.string:
            yield f"{_INDENT * 2}uint64_t tee_len_{param.name} TEE_SLOT;"
    if function.propagates_errno:
        yield f"{_INDENT * 2}int tee_errno TEE_SLOT;"
    if function.makes_buffers:
        yield f"{_INDENT * 2}uint64_t tee_room TEE_SLOT;"
    yield f"{_INDENT}}} tee_args;"
    for param in _buffers(function):
        how = " | ".join(["TEE_IN"] * param.is_in + ["TEE_OUT"] * param.is_out)
        about = f".type = {_type_of(param.type)}, .how = {how}"
        yield f"{_INDENT}tee_buffer_t tee_buf_{param.name} = {{{about}}};"


def _buffers(function: Function) -> list[Param]:
    return [param for param in function.params if param.pointer]


def _slot(ctype: CType) -> str:
    """The C type of a slot. The host can put any byte where a bool is expected."""
    other = {"pointer": "uint64_t", "void": "uint64_t", "bool": "uint8_t"}
    return other.get(ctype.kind, ctype.name)


def _from_slot(ctype: CType, slot: str) -> str:
    """C expression: the value in a slot."""
    return {"pointer": f"(void*){slot}", "bool": f"{slot} != 0"}.get(ctype.kind, slot)


def _set_slot(ctype: CType, slot: str, value: str, indent: str) -> Iterator[str]:
    cast = "(uint64_t)" if ctype.kind == "pointer" else ""
    yield f"{indent}tee_args.{slot} = {cast}{value};"
    if ctype.gaps:
        yield f"{indent}tee_scrub({_type_of(ctype)}, &tee_args.{slot}, sizeof tee_args.{slot});"


def _if_ok(call: str, indent: str = _INDENT) -> Iterator[str]:
    yield f"{indent}if (tee_status == OE_OK)"
    yield f"{indent}{_INDENT}tee_status = {call};"


def _each(function: Function, how: str, value: str) -> Iterator[str]:
    """Take or lend each buffer; ``value`` is where its address and sizes come from."""
    for param in _buffers(function):
        where = f"{value}{param.name}" if how == "take" else f"(void*){param.name}"
        if param.string:
            length = f"{value}tee_len_{param.name}, " if how == "take" else ""
            arguments = f"{where}, {length}{param.type.size}"
        else:
            count = (
                param.count if isinstance(param.count, int) else f"(uint64_t){value}{param.count}"
            )
            arguments = f"{where}, {count}, {param.unit}"
        string = "_string" * param.string
        yield from _if_ok(f"tee_{how}{string}(&tee_buf_{param.name}, {arguments})")


def _ecall(function: Function) -> Iterator[str]:
    yield f"static oe_result_t tee_ecall_{function.name}(uint64_t tee_at)"
    yield "{"
    if not needs_struct(function):
        yield f"{_INDENT}(void)tee_at;"
        yield f"{_INDENT}{function.name}();"
        yield f"{_INDENT}return OE_OK;"
        yield "}"
        return
    yield from _struct(function)
    yield f"{_INDENT}oe_result_t tee_status = tee_copy_in(&tee_args, tee_at, sizeof tee_args);"
    yield ""
    yield from _each(function, "take", "tee_args.")
    yield f"{_INDENT}if (tee_status == OE_OK) {{"
    yield from _ecall_body(function)
    yield f"{_INDENT}}}"
    for param in _buffers(function):
        yield f"{_INDENT}tee_drop(&tee_buf_{param.name});"
    yield f"{_INDENT}return tee_status;"
    yield "}"


def _ecall_body(function: Function) -> Iterator[str]:
    """The call itself, and what it gives back."""
    arguments = ", ".join(
        f"tee_buf_{param.name}.inside"
        if param.pointer
        else _from_slot(param.type, f"tee_args.{param.name}")
        for param in function.params
    )
    call, indent = f"{function.name}({arguments})", _INDENT * 2
    if function.returns.kind == "void":
        yield f"{indent}{call};"
    else:
        yield from _set_slot(function.returns, "retval", call, indent)
        yield f"{indent}tee_status ="
        yield f"{indent}{_INDENT}tee_copy_out(tee_at, &tee_args.retval, sizeof tee_args.retval);"
    if function.makes_buffers:
        yield from _if_ok("tee_arena_from(tee_args.tee_room)", indent)
    for param in _buffers(function):
        if param.is_out:
            yield from _if_ok(f"tee_give(&tee_buf_{param.name})", indent)


def _dispatcher(interface: Interface) -> Iterator[str]:
    yield "oe_result_t tee_dispatch(uint64_t function, uint64_t args)"
    yield "{"
    yield f"{_INDENT}(void)args;"
    yield f"{_INDENT}switch (function) {{"
    for function in interface.trusted:
        yield f"{_INDENT}case {function.index}:"
        yield f"{_INDENT * 2}return tee_ecall_{function.name}(args);"
    yield f"{_INDENT}default:"
    yield f"{_INDENT * 2}return OE_NOT_FOUND;"
    yield f"{_INDENT}}}"
    yield "}"


def _ocall(function: Function) -> Iterator[str]:
    yield f"oe_result_t {function.name}({_ocall_params(function)})"
    yield "{"
    if not needs_struct(function):
        yield f"{_INDENT}return tee_ocall({function.index}, 0);"
        yield "}"
        return
    yield from _struct(function)
    yield f"{_INDENT}tee_buffer_t tee_outside = {{.how = TEE_IN}};"
    yield f"{_INDENT}oe_result_t tee_status = OE_OK;"
    yield ""
    yield f"{_INDENT}memset(&tee_args, 0, sizeof tee_args); /* between the slots, too */"
    yield f"{_INDENT}tee_arena_reset();"
    for param in function.params:
        if not param.pointer:
            yield from _set_slot(param.type, param.name, param.name, _INDENT)
    yield from _each(function, "lend", "")
    for param in _buffers(function):
        yield f"{_INDENT}tee_args.{param.name} = tee_buf_{param.name}.outside;"
        if param.string:
            yield f"{_INDENT}tee_args.tee_len_{param.name} = tee_buf_{param.name}.size;"
    if function.makes_buffers:
        yield f"{_INDENT}tee_args.tee_room = tee_arena_behind(sizeof tee_args);"
    yield from _if_ok("tee_lend(&tee_outside, &tee_args, sizeof tee_args, 1)")
    yield from _if_ok(f"tee_ocall({function.index}, tee_outside.outside)")
    yield f"{_INDENT}if (tee_status == OE_OK) {{"
    yield from _ocall_answer(function)
    yield f"{_INDENT}}}"
    for param in _buffers(function):
        if param.type.deep:
            yield f"{_INDENT}tee_forget(&tee_buf_{param.name});"
    yield f"{_INDENT}return tee_status;"
    yield "}"


def _ocall_answer(function: Function) -> Iterator[str]:
    """What the host gave back, each word read once."""
    indent = _INDENT * 2
    slots = ["retval"] * (function.returns.kind != "void") + [
        "tee_errno"
    ] * function.propagates_errno
    for slot in slots:
        offset = f"((uint8_t*)&tee_args.{slot} - (uint8_t*)&tee_args)"
        outside = f"tee_outside.outside + {offset}"
        read = f"tee_read_outside(&tee_args.{slot}, {outside}, sizeof tee_args.{slot})"
        yield from _if_ok(read, indent)
    if "retval" in slots:
        yield f"{indent}if (tee_status == OE_OK && _retval)"
        yield f"{indent}{_INDENT}*_retval = {_from_slot(function.returns, 'tee_args.retval')};"
    if function.propagates_errno:
        yield f"{indent}if (tee_status == OE_OK)"
        yield f"{indent}{_INDENT}errno = tee_args.tee_errno;"
    for param in _buffers(function):
        if param.is_out:
            unit = f", {param.type.size}" if param.string else ""
            call = f"tee_collect{'_string' * param.string}(&tee_buf_{param.name}{unit})"
            yield from _if_ok(call, indent)
