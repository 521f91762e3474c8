// Standard C++ without exceptions: containers, strings, smart pointers, algorithms.
#include "standard_t.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <numeric>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

namespace {

int alive = 0;

struct Counted {
    Counted() { ++alive; }
    ~Counted() { --alive; }
};

static_assert(std::is_same_v<std::remove_const_t<const int>, int>);

}  // namespace

extern "C" int sorted(const int32_t* values, size_t size, char* text)
{
    std::vector<int32_t> all(values, values + size);
    std::sort(all.begin(), all.end());
    std::string line;
    for (int32_t value : all)
        line += std::to_string(value) + ' ';
    std::strncpy(text, line.c_str(), 63);
    return std::accumulate(all.begin(), all.end(), 0);
}

extern "C" int count_words(const char* text, const char* word)
{
    std::map<std::string, int> counts;
    std::string next;
    for (; *text; ++text) {
        if (*text != ' ')
            next += *text;
        else
            ++counts[std::exchange(next, {})];
    }
    ++counts[next];
    auto found = counts.find(word);
    return found == counts.end() ? 0 : found->second;
}

extern "C" int owners(void)
{
    auto shared = std::make_unique<Counted>();
    std::optional<Counted> maybe;
    maybe.emplace();
    Counted* several = new Counted[3];
    Counted* none = new (std::nothrow) Counted;
    int most = alive;
    delete[] several;
    delete none;
    maybe.reset();
    shared.reset();
    return most * 10 + alive;
}

extern "C" void out_of_range(int at)
{
    std::vector<int> three(3);
    three.at(static_cast<size_t>(at)) = 1;
}
