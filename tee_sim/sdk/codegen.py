"""Writes the C code that carries calls across the border, from an Interface.

Arguments travel in a *marshalling struct* in untrusted memory: one slot of 8 bytes for the return
value, then one for each parameter in order. A buffer's slot holds its untrusted address; a string
takes a second slot for its length, the NUL included. A float or double is its bits.

Each generated ecall does the same steps in the same order: copy the struct in, once; for each
buffer compute its size, check that it lies outside, make room inside, copy it in; call; copy the
outputs out; clear and free. The steps themselves are in ``guest/src/marshal.c``.

Simplified: writes to host memory are not aligned and padded to 8 bytes, as the mitigation of stale
data from memory-mapped devices asks of a real enclave.
"""

from __future__ import annotations

from collections.abc import Iterator

from tee_sim.sdk import services
from tee_sim.sdk.edl import CType, Function, Interface, Param, slot_of_length

_NOTE = "/* Generated from {name}.edl by tee_sim.sdk.codegen. Do not edit: edit the EDL file. */"

_INDENT = "    "


def header(interface: Interface, name: str) -> str:
    """``<name>_t.h``: prototypes of the ecalls to write, and of the ocalls to call."""
    guard = f"{name.upper()}_T_H"
    ecalls = [f"{f.returns.name} {f.name}({_ecall_params(f)});" for f in interface.trusted]
    ocalls = [f"oe_result_t {f.name}({_ocall_params(f)});" for f in interface.untrusted]
    return "\n".join(
        [
            _NOTE.format(name=name),
            f"#ifndef {guard}",
            f"#define {guard}",
            "",
            "#include <stdbool.h>",
            "#include <stddef.h>",
            "#include <stdint.h>",
            "",
            '#include "openenclave/enclave.h"',
            "",
            "#ifdef __cplusplus",
            'extern "C" {',
            "#endif",
            "",
            "/* Ecalls: the program defines these. */",
            *ecalls,
            "",
            "/* Ocalls: the program calls these; the result says whether the call took place. */",
            *ocalls,
            "",
            "#ifdef __cplusplus",
            "}",
            "#endif",
            "",
            "#endif",
            "",
        ]
    )


def source(interface: Interface, name: str) -> str:
    """``<name>_t.c``: the ecall wrappers, the dispatcher and the ocalls."""
    parts = [
        _NOTE.format(name=name) + f'\n#include "{name}_t.h"\n#include "tee/runtime.h"',
        "#include <string.h>",
    ]
    parts += ["\n".join(_ecall(f)) for f in interface.trusted]
    parts.append("\n".join(_dispatcher(interface)))
    parts += ["\n".join(_ocall(f)) for f in (*interface.untrusted, *services.ocalls())]
    return "\n\n".join(parts) + "\n"


def needs_struct(function: Function) -> bool:
    """Whether a call of this function has a marshalling struct at all."""
    return bool(function.params) or function.returns.kind != "void"


def slots(function: Function) -> list[str]:
    """Names of the marshalling struct's slots, in order; each is 8 bytes."""
    names = ["retval"]
    for param in function.params:
        names.append(param.name)
        if param.string:
            names.append(slot_of_length(param))
    return names


def _ecall_params(function: Function) -> str:
    return ", ".join(_c_param(param) for param in function.params) or "void"


def _ocall_params(function: Function) -> str:
    retval = [] if function.returns.kind == "void" else [f"{function.returns.name}* _retval"]
    return ", ".join(retval + [_c_param(param) for param in function.params]) or "void"


def _c_param(param: Param) -> str:
    const = "const " if param.const else ""
    return f"{const}{param.type.name}{'*' if param.pointer else ''} {param.name}"


def _struct(function: Function) -> str:
    return f"{_INDENT}struct {{ uint64_t {', '.join(slots(function))}; }} tee_args = {{0}};"


def _buffers(function: Function) -> list[Param]:
    return [param for param in function.params if param.pointer]


def _declare_buffers(function: Function) -> Iterator[str]:
    for param in _buffers(function):
        yield f"{_INDENT}tee_buffer_t tee_buf_{param.name} = {{0}};"


def _from_slot(ctype: CType, slot: str) -> str:
    """C expression: the value in a slot."""
    if ctype.kind == "float":
        return f"tee_{ctype.name}_of({slot})"
    if ctype.kind == "bool":
        return f"(({slot} & 0xff) != 0)"
    return f"({ctype.name}){slot}"


def _to_slot(ctype: CType, value: str) -> str:
    """C expression: a value as a slot; signed ones are sign-extended."""
    if ctype.kind == "float":
        return f"tee_slot_of_{ctype.name}({value})"
    return f"(uint64_t)(int64_t){value}" if ctype.kind == "int" else f"(uint64_t){value}"


def _how(param: Param) -> str:
    return " | ".join(["TEE_IN"] * param.is_in + ["TEE_OUT"] * param.is_out)


def _if_ok(call: str) -> Iterator[str]:
    yield f"{_INDENT}if (tee_status == OE_OK)"
    yield f"{_INDENT * 2}tee_status = {call};"


def _count(function: Function, param: Param, *, inside: bool) -> str:
    """C expression: the number of units, from the copied-in struct or from the C parameter."""
    if isinstance(param.count, int):
        return str(param.count)
    other = next(p for p in function.params if p.name == param.count)
    value = other.name if inside else _from_slot(other.type, f"tee_args.{other.name}")
    return _to_slot(other.type, value)


def _ecall(function: Function) -> Iterator[str]:
    yield f"static oe_result_t tee_ecall_{function.name}(uint64_t outside)"
    yield "{"
    if not needs_struct(function):
        yield f"{_INDENT}(void)outside;"
        yield f"{_INDENT}{function.name}();"
        yield f"{_INDENT}return OE_OK;"
        yield "}"
        return
    yield _struct(function)
    yield from _declare_buffers(function)
    yield f"{_INDENT}oe_result_t tee_status = tee_copy_in(&tee_args, outside, sizeof tee_args);"
    yield ""
    for param in _buffers(function):
        slot = f"tee_args.{param.name}"
        if param.string:
            length = f"tee_args.{slot_of_length(param)}"
            yield from _if_ok(f"tee_take_string(&tee_buf_{param.name}, {slot}, {length})")
        else:
            count = _count(function, param, inside=False)
            size = f"{count}, {param.unit}, {_how(param)}"
            yield from _if_ok(f"tee_take(&tee_buf_{param.name}, {slot}, {size})")
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
    call = f"{function.name}({arguments})"
    if function.returns.kind == "void":
        yield f"{_INDENT * 2}{call};"
    else:
        yield f"{_INDENT * 2}tee_args.retval = {_to_slot(function.returns, call)};"
        yield f"{_INDENT * 2}tee_copy_out(outside, &tee_args.retval, sizeof tee_args.retval);"
    for param in _buffers(function):
        if param.is_out:
            yield f"{_INDENT * 2}tee_give(&tee_buf_{param.name});"


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
    yield _struct(function)
    yield f"{_INDENT}tee_buffer_t tee_outside = {{0}};"
    yield from _declare_buffers(function)
    yield f"{_INDENT}oe_result_t tee_status = OE_OK;"
    yield ""
    yield f"{_INDENT}tee_arena_reset();"
    yield from _lend(function)
    yield from _if_ok("tee_lend(&tee_outside, &tee_args, sizeof tee_args, 1, TEE_IN)")
    yield from _if_ok(f"tee_ocall({function.index}, tee_outside.outside)")
    yield f"{_INDENT}if (tee_status == OE_OK) {{"
    if function.returns.kind != "void":
        yield f"{_INDENT * 2}memcpy(&tee_args.retval, (void*)tee_outside.outside, 8);"
        yield f"{_INDENT * 2}if (_retval)"
        yield f"{_INDENT * 3}*_retval = {_from_slot(function.returns, 'tee_args.retval')};"
    for param in _buffers(function):
        if param.is_out:
            yield f"{_INDENT * 2}tee_collect(&tee_buf_{param.name});"
    yield f"{_INDENT}}}"
    yield f"{_INDENT}return tee_status;"
    yield "}"


def _lend(function: Function) -> Iterator[str]:
    """Copies the arguments of an ocall out, and fills the slots."""
    for param in function.params:
        buffer = f"tee_buf_{param.name}"
        if not param.pointer:
            yield f"{_INDENT}tee_args.{param.name} = {_to_slot(param.type, param.name)};"
        elif param.string:
            yield from _if_ok(f"tee_lend_string(&{buffer}, {param.name})")
            yield f"{_INDENT}tee_args.{param.name} = {buffer}.outside;"
            yield f"{_INDENT}tee_args.{slot_of_length(param)} = {buffer}.size;"
        else:
            pointer = f"(void*){param.name}" if param.const else param.name
            size = f"{_count(function, param, inside=True)}, {param.unit}, {_how(param)}"
            yield from _if_ok(f"tee_lend(&{buffer}, {pointer}, {size})")
            yield f"{_INDENT}tee_args.{param.name} = {buffer}.outside;"
