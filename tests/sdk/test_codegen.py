from tee_sim.sdk.codegen import header, source
from tee_sim.sdk.reader import parse

EDL = parse(
    """enclave {
        trusted {
            public void nothing(void);
            public int keep([in, string] const char* s, [in, out, size=n] uint8_t* d, int n);
        };
        untrusted { double tell(float x, [out, count=2] int* p); };
    };"""
)


def test_the_header_declares_ecalls_as_written_and_ocalls_with_a_result():
    text = header(EDL, "demo")
    assert "int keep(const char* s, uint8_t* d, int n);" in text
    assert "oe_result_t tell(double* _retval, float x, int* p);" in text


def test_a_slot_for_each_parameter_and_one_for_the_length_of_a_string():
    text = source(EDL, "demo")
    body = text[text.index("tee_ecall_keep") :]
    slots = [line.split()[-2] for line in body.splitlines() if line.endswith("TEE_SLOT;")]
    assert slots[:5] == ["retval", "s", "tee_len_s", "d", "n"]


def test_an_ecall_copies_the_struct_in_once_and_uses_only_the_copy():
    text = source(EDL, "demo")
    body = text[text.index("tee_ecall_keep") : text.index("oe_result_t tee_dispatch")]
    assert body.count("tee_copy_in(") == 1
    assert "outside->" not in body
    assert "tee_take_string(&tee_buf_s, tee_args.s, tee_args.tee_len_s, 1)" in body
    assert "tee_take(&tee_buf_d, tee_args.d, (uint64_t)tee_args.n, 1)" in body
    assert body.count("tee_drop(") == 2
    assert body.count("tee_give(") == 1


def test_an_empty_call_touches_no_struct():
    text = source(EDL, "demo")
    body = text[text.index("tee_ecall_nothing") : text.index("tee_ecall_keep")]
    assert "tee_args" not in body


def test_an_unknown_function_is_not_found():
    assert "return OE_NOT_FOUND;" in source(EDL, "demo")
    assert "return OE_NOT_FOUND;" in source(parse("enclave { };"), "demo")
