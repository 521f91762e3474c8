#include "handlers_t.h"

#include "tee/aex_notify.h"

static uint64_t answers[4], notes;
static oe_exception_record_t last;

/* Each faulting instruction is two bytes long, or three. */
uint64_t faulting_de(void);
uint64_t faulting_ud(void);
uint64_t faulting_pf(void);
uint64_t faulting_gp(void);
extern const uint8_t at_de[], at_ud[], at_pf[], at_gp[];
__asm__(".text\n"
        "faulting_de: xorl %ecx, %ecx\n xorl %edx, %edx\n movl $7, %eax\n at_de: divl %ecx\n ret\n"
        "faulting_ud: movl $7, %eax\n at_ud: ud2\n ret\n"
        "faulting_pf: movl $0x12345678, %ecx\n movl $7, %eax\n at_pf: movl (%rcx), %eax\n ret\n"
        "faulting_gp: movl $7, %eax\n movabs $0x800000000000, %rcx\n at_gp: jmpq *%rcx\n ret\n");

static uint64_t note(int number, oe_exception_record_t* record)
{
    notes = notes << 4 | (uint64_t)(number + 1);
    if (answers[number] == OE_EXCEPTION_CONTINUE_SEARCH)
        return OE_EXCEPTION_CONTINUE_SEARCH;
    last = *record;
    if (answers[number] == 1) { /* fails itself, once */
        answers[number] = OE_EXCEPTION_CONTINUE_EXECUTION;
        faulting_ud();
        last = *record;
    }
    if (record->address == (uint64_t)at_gp || record->context->rip == 0x800000000000)
        record->context->rip = (uint64_t)at_gp;
    record->context->rip += 2;
    return OE_EXCEPTION_CONTINUE_EXECUTION;
}

static uint64_t handler_0(oe_exception_record_t* record) { return note(0, record); }
static uint64_t handler_1(oe_exception_record_t* record) { return note(1, record); }
static uint64_t handler_2(oe_exception_record_t* record) { return note(2, record); }
static uint64_t handler_3(oe_exception_record_t* record) { return note(3, record); }

static oe_vectored_exception_handler_t handler(int number)
{
    oe_vectored_exception_handler_t all[] = {handler_0, handler_1, handler_2, handler_3};

    return number < 0 ? NULL : all[number];
}

oe_result_t add(int number, bool first)
{
    return oe_add_vectored_exception_handler(first, handler(number));
}

oe_result_t add_at(uint64_t address)
{
    return oe_add_vectored_exception_handler(false, (oe_vectored_exception_handler_t)address);
}

oe_result_t take_away(int number)
{
    return oe_remove_vectored_exception_handler(handler(number));
}

void answer(int number, uint64_t what)
{
    answers[number] = what;
}

uint64_t noted(void)
{
    return notes;
}

uint64_t fail(int kind)
{
    switch (kind) {
    case 0: return faulting_de();
    case 6: return faulting_ud();
    case 13: return faulting_gp();
    default: return faulting_pf();
    }
}

uint64_t code(void)
{
    return last.code;
}

uint64_t flags(void)
{
    return last.flags;
}

uint64_t error(void)
{
    return last.error_code;
}

uint64_t about(void)
{
    return last.faulting_address;
}

bool at_the_instruction(void)
{
    const uint8_t* at = (const uint8_t*)last.address;

    return at == at_de || at == at_ud || at == at_pf || at == at_gp;
}

/* Keeps values in many registers, in SSE ones and in the flags, across the instruction that fails. */
uint64_t mix(uint64_t rounds, bool failing)
{
    uint64_t a = 1, b = 2, c = 3, d = 5, e = 8, f = 13, carry = 0;
    double x = 1.5;

    for (uint64_t i = 0; i < rounds; i++) {
        __asm__ volatile("addq %1, %0\n"
                         "testb %3, %3\n"
                         "jz 1f\n"
                         "addq %1, %0\n"
                         "stc\n"
                         "ud2\n"
                         "jmp 2f\n"
                         "1: addq %1, %0\n"
                         "stc\n"
                         "2: adcq $0, %2\n"
                         : "+r"(a), "+r"(b), "+r"(carry)
                         : "r"(failing)
                         : "cc");
        b = b * 3 + c, c ^= a, d += b >> 3, e = e * 5 + d, f ^= e << 1;
        x = x * 1.25 + 0.5;
        if (x > 1e6)
            x = 1.5;
    }
    return a ^ b ^ c ^ d ^ e ^ f ^ carry ^ (uint64_t)(x * 4096);
}

static volatile uint64_t interruptions;

static void on_interruption(void)
{
    interruptions = interruptions + 1;
}

void listen(bool on)
{
    interruptions = 0;
    tee_set_aex_handler(on ? on_interruption : NULL);
}

uint64_t heard(void)
{
    return interruptions;
}
