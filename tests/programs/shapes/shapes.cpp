// Freestanding C++: virtual functions, new and delete, a constructor that runs before the first call.
#include "shapes_t.h"

namespace {

class Shape {
public:
    explicit Shape(int size) : size_(size) {}
    virtual ~Shape() = default;
    virtual int area() const = 0;
    virtual const char* name() const = 0;

protected:
    int size_;
};

class Square final : public Shape {
public:
    using Shape::Shape;
    int area() const override { return size_ * size_; }
    const char* name() const override { return "square"; }
};

class Triangle final : public Shape {
public:
    using Shape::Shape;
    int area() const override { return size_ * size_ / 2; }
    const char* name() const override { return "triangle"; }
};

volatile int seed = 41;

struct Early {
    int value;
    Early() : value(seed + 1) {}
} early;

Shape* make(int kind, int size)
{
    if (kind == 0)
        return new Square(size);
    return new Triangle(size);
}

}  // namespace

extern "C" int area(int kind, int size)
{
    Shape* shape = make(kind, size);
    int result = note(shape->name()) == OE_OK ? shape->area() : -1;
    delete shape;
    return result;
}

extern "C" int made_before_first_call(void)
{
    return early.value;
}
