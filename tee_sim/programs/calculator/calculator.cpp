// An expression, evaluated as it is read. See program.toml.
#include "calculator_t.h"

#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int MAX_DEPTH = 40;
constexpr size_t MESSAGE_ROOM = 64;

struct Named {
    const char* name;
    double (*function)(double);
};

constexpr Named FUNCTIONS[] = {
    {"sqrt", [](double x) { return std::sqrt(x); }}, {"exp", [](double x) { return std::exp(x); }},
    {"log", [](double x) { return std::log(x); }},   {"sin", [](double x) { return std::sin(x); }},
    {"cos", [](double x) { return std::cos(x); }},   {"abs", [](double x) { return std::fabs(x); }},
};

// A grammar with one function for each rule. The first error is kept, and everything after it is zero.
class Parser {
public:
    explicit Parser(const char* text) : text_(text), at_(text) {}

    double parse()
    {
        double value = sum();
        if (peek() != '\0')
            fail("expected an operator");
        return value;
    }

    const char* error() const { return error_; }
    int place() const { return static_cast<int>(place_ - text_); }

private:
    const char* text_;
    const char* at_;
    const char* error_ = nullptr;
    const char* place_ = nullptr;
    int depth_ = 0;

    double fail(const char* message)
    {
        if (!error_) {
            error_ = message;
            place_ = at_;
        }
        at_ += std::strlen(at_);
        return 0;
    }

    char peek()
    {
        while (std::isspace(static_cast<unsigned char>(*at_)))
            ++at_;
        return *at_;
    }

    bool take(char wanted)
    {
        if (peek() != wanted)
            return false;
        ++at_;
        return true;
    }

    double sum()
    {
        double value = product();
        for (;;) {
            if (take('+'))
                value += product();
            else if (take('-'))
                value -= product();
            else
                return value;
        }
    }

    double product()
    {
        double value = sign();
        for (;;) {
            if (take('*')) {
                value *= sign();
            } else if (take('/')) {
                double divisor = sign();
                if (divisor == 0 && !error_)
                    return fail("division by zero");
                value /= divisor;
            } else {
                return value;
            }
        }
    }

    // Every way to nest leads through here.
    double sign()
    {
        if (depth_ == MAX_DEPTH)
            return fail("nested too deeply");
        ++depth_;
        double value = take('-') ? -sign() : power();
        --depth_;
        return value;
    }

    double power()
    {
        double base = atom();
        return take('^') ? std::pow(base, sign()) : base;
    }

    double atom()
    {
        char next = peek();
        if (take('(')) {
            double value = sum();
            return take(')') ? value : fail("expected )");
        }
        if (std::isalpha(static_cast<unsigned char>(next)))
            return name();
        if (!std::isdigit(static_cast<unsigned char>(next)) && next != '.')
            return fail("expected a number");
        char* end;
        double value = std::strtod(at_, &end);
        if (end == at_)
            return fail("expected a number");
        at_ = end;
        return value;
    }

    double name()
    {
        const char* start = at_;
        while (std::isalpha(static_cast<unsigned char>(*at_)))
            ++at_;
        size_t length = static_cast<size_t>(at_ - start);
        if (length == 2 && std::strncmp(start, "pi", 2) == 0)
            return M_PI;
        for (const Named& known : FUNCTIONS)
            if (std::strlen(known.name) == length && !std::strncmp(start, known.name, length))
                return take('(') ? apply(known.function) : fail("expected (");
        at_ = start;
        return fail("unknown name");
    }

    double apply(double (*function)(double))
    {
        double argument = sum();
        if (!take(')'))
            return fail("expected )");
        double value = function(argument);
        return std::isfinite(value) || error_ ? value : fail("no such value");
    }
};

}  // namespace

int evaluate(const char* expression, double* value, char* message)
{
    Parser parser(expression);
    double result = parser.parse();

    if (parser.error()) {
        std::snprintf(message, MESSAGE_ROOM, "%s", parser.error());
        return parser.place() + 1;
    }
    *value = result;
    return 0;
}
