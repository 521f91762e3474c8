"""Words that the EDL reader must know only to refuse them well."""

from __future__ import annotations

_CALLS = "every call leaves and enters by the ordinary path"

UNSUPPORTED = {
    "sizefunc": "it is deprecated; a size is a number or another parameter: use size",
    "readonly": "nothing checks it; write const, or [in] without [out]",
    "private": "every ecall can be made from outside; write 'public'",
    "switchless": "Open Enclave's word is 'transition_using_threads'",
    "cdecl": _CALLS,
    "stdcall": _CALLS,
    "fastcall": _CALLS,
    "dllimport": _CALLS,
}
"""Words of EDL that Open Enclave's tool refuses too -> why, and what to do instead."""

ATTRIBUTES = "in out size count string wstring user_check isptr isary".split()
"""What may stand in brackets before a parameter."""

EXPECTED = {
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": "a name in double quotes",
    "COMMENT": "a comment",
    "$END": "the end of the file",
}
"""What a message calls the grammar's terminals that are no words of their own."""

RESERVED_PREFIXES = ("_", "oe_", "tee_")
"""Names that belong to C, to the API and to the runtime."""

_KEYWORDS = """
alignas alignof and and_eq asm auto bitand bitor break case catch class compl const const_cast
consteval constexpr constinit continue decltype default delete do dynamic_cast else enum explicit
export extern false final for friend goto if inline int long mutable namespace new noexcept not
not_eq nullptr operator or or_eq override private protected public register reinterpret_cast
restrict return short signed sizeof static static_assert static_cast struct switch template this
thread_local throw true try typedef typeid typename typeof union unsigned using virtual volatile
wchar_t while xor xor_eq
"""

_RUNTIME = """
abort calloc errno free malloc memchr memcmp memcpy memmove memset realloc retval strchr strcmp
strlen strncmp strnlen NULL INT64_MAX linux unix main
"""

RESERVED = frozenset(_KEYWORDS.split()) | frozenset(_RUNTIME.split())
"""Names that a function or parameter cannot have, in C, in C++ or beside the runtime."""
