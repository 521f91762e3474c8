"""Words that the EDL reader must know only to refuse them well."""

from __future__ import annotations

_STRUCTURES = "only scalars, buffers and strings cross the border; pass the fields one by one"
_ONE_FILE = "an interface is one file with C's standard types"
_PLACES = "its place on the border is fixed: use [in], [out], size, count or string"
_CALLS = "every ecall is public, and every call leaves and enters by the ordinary path"

UNSUPPORTED = {
    "struct": _STRUCTURES,
    "enum": _STRUCTURES,
    "union": _STRUCTURES,
    "import": _ONE_FILE,
    "from": _ONE_FILE,
    "include": _ONE_FILE,
    "user_check": "it hands an unchecked pointer to the program, the classic hole; copy with [in]",
    "wstring": "wide characters have another size on each system; pass UTF-8 with [in, string]",
    "wchar_t": "its size differs between systems; pass UTF-8 with [in, string]",
    "isptr": _PLACES,
    "isary": _PLACES,
    "readonly": _PLACES,
    "sizefunc": "a size is a number or another parameter, which can be checked before the copy",
    "private": "an ecall that only an ocall may make needs nesting; write 'public'",
    "allow": "ecalls made during an ocall are refused by the runtime",
    "transition_using_threads": _CALLS,
    "switchless": _CALLS,
    "propagate_errno": "there is no errno inside",
    "cdecl": _CALLS,
    "stdcall": _CALLS,
    "fastcall": _CALLS,
    "dllimport": _CALLS,
}
"""Words of EDL that this package does not read -> why, and what to do instead."""

EXPECTED = {
    "NAME": "a name",
    "NUMBER": "a number",
    "PUBLIC": "'public'",
    "STAR": "'*'",
    "LPAR": "'('",
    "RPAR": "')'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "LSQB": "'['",
    "RSQB": "']'",
    "SEMICOLON": "';'",
    "COMMA": "','",
    "EQUAL": "'='",
    "ENCLAVE": "'enclave'",
    "TRUSTED": "'trusted'",
    "UNTRUSTED": "'untrusted'",
    "COMMENT": "a comment",
    "$END": "the end of the file",
}
"""The grammar's terminals, as a message calls them."""

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
abort calloc free malloc memchr memcmp memcpy memmove memset realloc retval strchr strcmp strlen
strncmp strnlen NULL INT64_MAX linux unix main
"""

RESERVED = frozenset(_KEYWORDS.split()) | frozenset(_RUNTIME.split())
"""Names that a function or parameter cannot have, in C, in C++ or beside the runtime."""
