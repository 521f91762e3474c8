import pytest
from hypothesis import given
from hypothesis import strategies as st

from tee_sim.errors import BuildError
from tee_sim.sdk.edl import Interface
from tee_sim.sdk.reader import STANDARD, parse
from tee_sim.sdk.words import UNSUPPORTED

TYPES = "struct pair { int a; int b; }; struct deep { size_t n; [count=n] pair* p; };"


def one(declaration: str) -> str:
    return "enclave { " + TYPES + "\n trusted {\n  public " + declaration + ";\n };\n};"


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
        ("void f([in, sizefunc=g] char* x)", 22, "'sizefunc' is not supported"),
        ("void f([in, readonly] char* x)", 22, "'readonly' is not supported"),
        ("void f([user_check, in] void* p)", 18, "expected user_check alone"),
        ("void f([user_check] int p)", 18, "expected no attributes"),
        ("void f(struct a x)", 17, "unknown type 'struct a'"),
        ("void f(enum pair x)", 17, "unknown type 'enum pair'"),
        ("void f(struct deep x)", 17, "has pointers to follow: expected a pointer to it"),
        ("void f([in, size=8] deep* x)", 27, "has pointers to follow: expected count"),
        ("void f([in, isptr] int x)", 22, "expected one of isptr and isary, and a header's type"),
        ("void f([in, isptr, isary, size=4] foo x)", 29, "expected one of isptr and isary"),
        ("void f([in, isptr] foo x)", 33, "expected [size=...] in bytes"),
        ("void f([in, count=2] foo* x)", 36, "expected [size=...] in bytes"),
        ("void f(foo x)", 17, "unknown type 'foo'"),
        ("void f([in, wstring] char* x)", 22, "expected [in, wstring] const wchar_t*"),
        ("void f([out, string] char* p)", 23, "expected [in, string] const char*"),
        ("void f([in, string, size=2] char* p)", 22, "expected [in, string] const char*"),
        ("void f() allow(g)", 19, "'allow' is for ocalls"),
        ("void f() propagate_errno", 19, "'propagate_errno' is for ocalls"),
        ("void f() transition_using_threads transition_using_threads", 19, "given twice"),
        ("void f(int* p)", 22, "'p' has no direction"),
        ("void f(int a[3])", 21, "'a' has no direction"),
        ("void f([in] int a[0])", 28, "expected 1 to"),
        ("void f([in] int a[n])", 28, "'n' is no number"),
        ("void f([in, size=4] int a[3])", 34, "the array 'a' has its size"),
        ("void f([in] void* p)", 28, "expected [size=...] in bytes"),
        ("void f([in, size=n] char* p)", 36, "expected a number or the name of an integer"),
        ("void f([in, size=n] char* p, [in] int* n)", 36, "expected a number or the name"),
        ("void f([in, size=0] char* p)", 27, "expected 1 to"),
        ("void f([in, size=99999999999999999999] char* p)", 27, "expected 1 to"),
        ("void f([in, size=1, count=1] char* p)", 36, "size and count together"),
        ("void f([in, size] char* p)", 22, "expected size=..."),
        ("void f([in=2] int* p)", 18, "expected 'in' alone"),
        ("void f([in, in] int* p)", 22, "given twice"),
        ("void f([in, odd] int* p)", 22, "unknown attribute 'odd'"),
        ("void f([out] const int* p)", 18, "expected [in] alone"),
        ("void f([in] int p)", 18, "expected no attributes"),
        ("void f(int a, int a)", 28, "two parameters are called 'a'"),
        ("void f(int)", 17, "has no type"),
        ("void f(int class)", 21, "reserved"),
        ("void f(int _x)", 21, "reserved"),
        ("void oe_f(int x)", 15, "reserved"),
        ("void pair(int x)", 15, "declared twice"),
        ("void f(long double x)", 17, "unknown type 'long double'"),
        ("void f(unsigned pair x)", 17, "unknown type 'unsigned pair'"),
        ("void f(void x)", 17, "expected a type with a value"),
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
        ("enclave { trusted { public void f();\n};", "2:3: the file ends too early: expected"),
        ("enclave { struct a { int b; } };", "1:31: unexpected '}': expected ';'"),
        ("enclave { struct a { }; };", "1:18: 'a' has no members"),
        ("enclave { struct a { int b; char b; }; };", "two members are called 'b'"),
        ("enclave { struct a { struct a b; }; };", "unknown type 'struct a'"),
        ("enclave { struct a { [in] int* b; }; };", "unknown attribute 'in': expected size, count"),
        ("enclave { union a { [size=4] int* b; }; };", "attributes have no place in a union"),
        ("enclave { struct a { [count=n] int* b; int n[2]; }; };", "the size of 'b' is 'n'"),
        ("enclave { struct a { char b[65536]; int c; }; };", "expected at most 65536"),
        ("enclave { struct a { int x; }; union a { int x; }; };", "'a' is declared twice"),
        ("enclave { enum a { B, B }; };", "'B' is declared twice"),
        ("enclave { enum a { B = 2147483647, C }; };", "'C' = 2147483648: expected 0 to"),
        (
            "enclave { enum a { B = x }; };",
            "'x' is no number: expected one, or a name from an enum",
        ),
        ("enclave { enum { }; };", "unexpected '}': expected a name"),
        ("enclave { enum a { int }; };", "reserved"),
        ('enclave { import "none.edl" };', "there is no 'none.edl': expected it in one of"),
        ('enclave { from "openenclave/edl/time.edl" import nope; };', "'nope' is not in"),
        ('enclave { import "open', "1:18: a string that is not closed"),
        ("enclave { trusted { void f(); }; };", "'private' is not supported"),
        ("enclave { trusted { private void f(); }; };", "'private' is not supported"),
        ("enclave { untrusted { public void f(); }; };", "'public' is for ecalls"),
        ("enclave { untrusted { void f() allow(a,); }; };", "1:40: unexpected ')': expected a"),
        ("enclave { trusted { public void f(); public void f(); }; };", "declared twice"),
        ("enclave { trusted { public void f(); }; untrusted { int f(); }; };", "declared twice"),
        ("enclave { /* ", "a comment that is not closed"),
        ("enclave \0", "unexpected character '\\x00'"),
        ("enclave {\n #ifdef\n };", "2:2: #ifdef without a name: expected #ifdef NAME"),
        ("enclave {\n #if A\n };", "2:2: unknown directive '#if'"),
        ("enclave {\n #else\n };", "2:2: unexpected #else"),
        ("enclave {\n#ifdef A\n#else\n#else\n};", "4:1: unexpected #else"),
        ("enclave {\n #endif\n };", "2:2: unexpected #endif"),
        ("enclave {\n #ifdef A\n };", "2:2: a condition that is not closed: expected #endif"),
    ],
)
def test_a_broken_file_says_what_was_expected(text, said):
    with pytest.raises(BuildError) as caught:
        parse(text)
    assert said in str(caught.value)
    assert caught.value.line >= 1
    assert caught.value.column >= 1


def test_types_are_declared_and_laid_out_as_c_does():
    interface = parse(
        """enclave {
            include "shapes.h"
            enum { SIDES = 3, FACES = 0x10 };
            enum hue { RED, GREEN = SIDES, BLUE };
            union number { uint8_t bytes[SIDES]; double real; hue colour; };
            struct node {
                char kind; union number value; struct node* next; enum hue many[2][FACES];
                [size=room] void* data; uint8_t room; [count=2, size=room] hue* both;
            };
            trusted { public node* f([in, count=n] const struct node* list, size_t n,
                [user_check] outer_t* p, [in, isptr, size=12] handle h, [in, isary, size=n] grid g,
                [out] int a[2][SIDES], [user_check] int** q, hue by_value, [in] char** words); };
            untrusted { void g(void) allow(f) propagate_errno transition_using_threads; };
        };"""
    )
    numbers, hue, number, node = interface.types
    assert interface.includes == ("shapes.h",)
    assert dict(numbers.values) | dict(hue.values) == {
        "SIDES": 3, "FACES": 16, "RED": 0, "GREEN": 3, "BLUE": 4
    }  # fmt: skip
    assert (number.size, number.alignment, number.gaps) == (8, 8, ())
    assert [at for at, _ in node.placed] == [0, 8, 16, 24, 152, 160, 168]
    assert (node.size, node.gaps) == (176, ((1, 7), (161, 7)))
    assert [(m.name, m.count, m.unit) for _, m in node.deep] == [
        ("data", "room", 1), ("both", 2, "room")
    ]  # fmt: skip
    f, g = interface.trusted[0], interface.untrusted[0]
    assert f.returns.name == "struct node*"
    assert [p.c for p in f.params] == [
        "const struct node* list", "size_t n", "outer_t* p", "handle h", "grid g",
        "int a[2][3]", "int** q", "enum hue by_value", "char** words",
    ]  # fmt: skip
    assert [p.pointer for p in f.params] == [1, 0, 0, 1, 1, 1, 0, 0, 1]
    assert f.params[5].count * f.params[5].unit == 24
    assert g.propagates_errno
    assert str(g) == "void g(void) propagate_errno transition_using_threads"
    assert "size=room] void* data" in interface._repr_html_()


def test_what_a_condition_leaves_out_is_not_read(tmp_path):
    text = """enclave { trusted {
    #ifdef FAST /* #else */
        public void fast(); // #endif
    #else
        public void slow(); #ifndef FAST
        public void slower(); #endif
    #endif
    public void always(); }; };"""
    assert [f.name for f in parse(text).trusted] == ["slow", "slower", "always"]
    assert [f.name for f in parse(text, defines=["FAST"]).trusted] == ["fast", "always"]
    with pytest.raises(BuildError, match="5:15: unexpected 'x'"):
        parse("enclave {\n#ifdef A\n ? !\n#endif\n trusted { }; x };")


@pytest.fixture
def library(tmp_path):
    """A file that imports another one from a search path, and declares more."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "types.edl").write_text(
        'enclave { include "a.h" enum hue { RED }; struct dot { hue h; };'
        "trusted { public void first(dot d); }; untrusted { void second(); }; };"
    )

    def read(text):
        return parse(text, str(tmp_path / "main.edl"), search=[tmp_path / "lib"])

    return read


def test_an_import_brings_types_and_headers_and_the_functions_that_were_asked_for(library):
    own = "trusted { public void mine(struct dot d); };"
    every = library('enclave { import "types.edl" ' + own + " };")
    assert [f.name for f in every.trusted] == ["mine", "first"]
    assert [f.index for f in every.trusted] == [0, 1]
    assert [f.name for f in every.untrusted] == ["second"]
    assert [t.name for t in every.types] == ["enum hue", "struct dot"]
    assert every.includes == ("a.h",)
    assert library('enclave { from "types.edl" import *; ' + own + " };") == every
    some = library('enclave { from "types.edl" import second; ' + own + " };")
    assert [f.name for f in some.trusted + some.untrusted] == ["mine", "second"]
    twice = library('enclave { import "types.edl" import "lib/types.edl" ' + own + " };")
    assert twice == every


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('enclave { import "types.edl" struct dot { int x; }; };', "1:37: 'dot' is declared twice"),
        ('enclave { struct hue { int x; }; import "types.edl" };', "1:41: 'hue' is declared twice"),
        ('enclave { trusted { public int first(); }; import "types.edl" };', "'first' is declared"),
        ('enclave { import "types.edl" trusted { public int first(); }; };', "'first' is declared"),
    ],
)
def test_an_import_cannot_redefine(library, text, said):
    with pytest.raises(BuildError) as caught:
        library(text)
    assert said in str(caught.value)


def test_a_circle_or_a_tower_of_imports_is_refused(tmp_path):
    for n in range(40):
        (tmp_path / f"n{n}.edl").write_text(f'enclave {{ import "n{n + 1}.edl" }};')
    main = str(tmp_path / "main.edl")
    with pytest.raises(BuildError, match="imports nest too deep"):
        parse('enclave { import "n0.edl" };', main)
    (tmp_path / "n2.edl").write_text('enclave {\n import "n1.edl" };')
    with pytest.raises(BuildError, match=r"n2\.edl:2:9: 'n1\.edl' imports itself"):
        parse('enclave { import "n0.edl" };', main)


def test_the_standard_files_can_be_imported_and_declare_what_the_host_can_serve():
    text = 'enclave { from "openenclave/edl/syscall.edl" import *; from "platform.edl" import *; };'
    names = {f.name for f in parse(text).untrusted}
    assert {"oe_syscall_open_ocall", "oe_syscall_uname_ocall"} <= names
    for path in (STANDARD / "openenclave" / "edl").rglob("*.edl"):
        name = path.relative_to(STANDARD).as_posix()
        assert not parse(f'enclave {{ import "{name}" }};').trusted
    picked = 'enclave { from "openenclave/edl/logging.edl" import oe_write_ocall; };'
    assert [f.name for f in parse(picked).untrusted] == ["oe_write_ocall"]


def test_each_unsupported_word_has_a_reason():
    assert all(len(reason) > 10 for reason in UNSUPPORTED.values())


_COMMON = """
enclave trusted untrusted public void int const char size_t in out size count string = [ ] ( ) { }
; , * f x 12 0x1 /* */ // unsigned long struct union enum pair deep user_check isptr wstring wchar_t
import from include allow transition_using_threads propagate_errno "x" #ifdef #else #endif
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
