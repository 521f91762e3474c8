import pytest
from hypothesis import given
from hypothesis import strategies as st

from tee_sim.errors import BuildError
from tee_sim.sdk.edl import Interface
from tee_sim.sdk.reader import parse
from tee_sim.sdk.words import UNSUPPORTED


def one(declaration: str) -> str:
    return "enclave {\n trusted {\n  public " + declaration + ";\n };\n};"


def test_an_interface_is_read_with_types_and_numbers():
    interface = parse(
        """enclave { // comment
            trusted {
                public void first(void); /* another * comment **/
                public unsigned long long int second(char const a, [in, count=a] int64_t* b);
            };
            untrusted { oe_result_t out([in, string] const char* s, [out, size=0x10] void* p); };
        };"""
    )
    first, second = interface.trusted
    assert (first.index, first.name, first.params) == (0, "first", ())
    assert (second.index, second.returns.name) == (1, "unsigned long long")
    assert [p.name for p in second.params] == ["a", "b"]
    assert (second.params[1].count, second.params[1].unit) == ("a", 8)
    assert str(interface.untrusted[0]) == (
        "oe_result_t out([in, string] const char* s, [out, size=16] void* p)"
    )


@pytest.mark.parametrize(
    ("type_name", "kind", "size"),
    [
        ("char", "int", 1), ("unsigned char", "uint", 1), ("short int", "int", 2),
        ("unsigned", "uint", 4), ("int", "int", 4), ("long", "int", 8),
        ("long unsigned int", "uint", 8), ("signed long long", "int", 8), ("size_t", "uint", 8),
        ("uint16_t", "uint", 2), ("bool", "bool", 1), ("float", "float", 4),
        ("double", "float", 8),
    ],
)  # fmt: skip
def test_every_scalar_type_has_its_size(type_name, kind, size):
    (function,) = parse(one(f"{type_name} f({type_name} x)")).trusted
    assert (function.returns.kind, function.returns.size) == (kind, size)
    assert function.params[0].type == function.returns


@pytest.mark.parametrize(
    ("declaration", "column", "said"),
    [
        ("void f([user_check] void* p)", 18, "'user_check' is not supported"),
        ("void f(struct a x)", 17, "'struct' is not supported"),
        ("void f(enum a x)", 17, "'enum' is not supported"),
        ("void f([in, isptr] foo x)", 22, "'isptr' is not supported"),
        ("void f([in, sizefunc=g] char* x)", 22, "'sizefunc' is not supported"),
        ("void f([in, wstring] wchar_t* x)", 22, "'wstring' is not supported"),
        ("void f([in] wchar_t* x)", 22, "'wchar_t' is not supported"),
        ("void f() transition_using_threads", 19, "'transition_using_threads' is not"),
        ("void* f()", 14, "cannot return a pointer"),
        ("void f(int* p)", 22, "'p' has no direction"),
        ("void f([in] int** p)", 26, "pointers to pointers"),
        ("void f([in] void* p)", 28, "expected a size in bytes"),
        ("void f([in, size=n] char* p)", 36, "expected a number or the name of an integer"),
        ("void f([in, size=0] char* p)", 27, "expected 1 to"),
        ("void f([in, size=99999999999999999999] char* p)", 27, "expected 1 to"),
        ("void f([in, size=1, count=1] char* p)", 36, "size and count together"),
        ("void f([in, size] char* p)", 22, "expected size=..."),
        ("void f([in=2] int* p)", 18, "expected 'in' alone"),
        ("void f([in, in] int* p)", 22, "given twice"),
        ("void f([in, odd] int* p)", 22, "unknown attribute 'odd'"),
        ("void f([out, string] char* p)", 23, "expected [in, string] const char*"),
        ("void f([out] const int* p)", 18, "expected [in] alone"),
        ("void f([in] int p)", 18, "expected no attributes"),
        ("void f(int a, int a)", 28, "two parameters are called 'a'"),
        ("void f(int)", 17, "has no type"),
        ("void f(int class)", 21, "reserved"),
        ("void f(int _x)", 21, "reserved"),
        ("void oe_f(int x)", 15, "reserved"),
        ("void f(thing x)", 17, "unknown type 'thing'"),
        ("void f(long double x)", 17, "unknown type 'long double'"),
        ("void f(void x)", 17, "expected a type with a value"),
        ("void f(int a[3])", 22, "expected ')'"),
        ("void f([in,string] const char* s, int s_strlen)", 41, "is the length of 's'"),
        ("void f(int a", 22, "expected ')'"),
    ],
)
def test_a_refusal_names_the_word_and_its_place(declaration, column, said):
    with pytest.raises(BuildError) as caught:
        parse(one(declaration), "a.edl")
    error = caught.value
    assert said in str(error)
    assert (error.file, error.line, error.column) == ("a.edl", 3, column)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1:1: the file ends too early: expected 'enclave'"),
        (
            "enclave { trusted { public void f();\n}; }",
            "2:5: the file ends too early: expected ';'",
        ),
        ("enclave { struct a { int b; }; };", "'struct' is not supported"),
        ('enclave { from "a.edl" import *; };', "'from' is not supported"),
        ('enclave { include "a.h" };', "'include' is not supported"),
        ("enclave { trusted { void f(); }; };", "'private' is not supported"),
        ("enclave { trusted { private void f(); }; };", "'private' is not supported"),
        ("enclave { untrusted { public void f(); }; };", "'public' is for ecalls"),
        ("enclave { trusted { public void f(); public void f(); }; };", "declared twice"),
        ("enclave { /* ", "a comment that is not closed"),
        ("enclave \0", "unexpected character '\\x00'"),
    ],
)
def test_a_broken_file_says_what_was_expected(text, said):
    with pytest.raises(BuildError) as caught:
        parse(text)
    assert said in str(caught.value)


def test_each_unsupported_word_has_a_reason():
    assert all(len(reason) > 10 for reason in UNSUPPORTED.values())


_COMMON = """
enclave trusted untrusted public void int const char size_t in out size count string = [ ] ( ) { }
; , * f x 12 0x1 /* */ // unsigned long
"""
WORDS = [*_COMMON.split(), "\n", *sorted(UNSUPPORTED)]


@given(st.one_of(st.text(), st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join)))
def test_any_text_is_an_interface_or_a_build_error(text):
    try:
        found: Interface | BuildError = parse(text)
    except BuildError as error:
        found = error
    assert isinstance(found, Interface) or (found.line >= 1 and found.column >= 1)


@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join))
def test_any_declaration_is_an_interface_or_a_build_error(words):
    try:
        interface = parse(one(f"void f({words})"))
    except BuildError:
        return
    for function in interface.trusted:  # what is accepted reads back the same
        assert parse(one(str(function))).trusted[0].params == function.params
