/* Draws a secret picture. What it computes is confidential; where it looks is not.
 *
 * The picture is 32 bytes: one bit a pixel, 1 for ink, row by row from the top, and in each byte the
 * leftmost pixel in the highest bit. `draw` first writes one byte each of sketch_ink and sketch_paper,
 * and then, for each pixel in that order, accesses exactly
 *
 *   1. sketch_bitmap   read    the pixel
 *   2. sketch_canvas   read    what is there
 *   3. sketch_ink      read    if the pixel is set, or
 *      sketch_paper    read    if it is clear
 *   4. sketch_canvas   write
 *
 * Each of the four is a page of its own, and no other page depends on the picture. An operator who
 * takes ink and paper away whenever the canvas is touched, and the canvas whenever ink or paper is,
 * sees 256 faults on ink or paper, one for each pixel, with a fault on the canvas before each. */
#include "sketch_t.h"

#include <string.h>

#include "tee/sha256.h"

#define PAGE 4096
#define SIDE 16
#define GLYPHS 8
#define GLYPH_SIDE 11
#define ROOM (SIDE - GLYPH_SIDE + 1)

/* volatile: each access in the source is one access in the machine code, in this order. */
typedef union {
    volatile uint8_t bytes[SIDE * SIDE];
    uint8_t page[PAGE];
} own_page_t;

own_page_t sketch_bitmap __attribute__((aligned(PAGE)));
own_page_t sketch_canvas __attribute__((aligned(PAGE)));
own_page_t sketch_ink __attribute__((aligned(PAGE)));
own_page_t sketch_paper __attribute__((aligned(PAGE)));

static int drawn;

/* Each fits into 11 x 11 pixels, so that it can be moved about. */
static const char glyphs[GLYPHS][GLYPH_SIDE][GLYPH_SIDE + 1] = {
    {
        "...........",
        "..##...##..",
        ".####.####.",
        "###########",
        "###########",
        "###########",
        ".#########.",
        "..#######..",
        "...#####...",
        "....###....",
        ".....#.....",
    },
    {
        ".###.......",
        "#...#......",
        "#...#......",
        "#...#######",
        ".###...#.#.",
        ".......#.#.",
        "...........",
        "...........",
        "...........",
        "...........",
        "...........",
    },
    {
        ".....#.....",
        "....###....",
        "...##.##...",
        "..##...##..",
        ".##.....##.",
        "###########",
        "#....#....#",
        "#.##.#.##.#",
        "#.##.#.##.#",
        "#....#....#",
        "###########",
    },
    {
        "#.......#..",
        "##.....##..",
        "#########..",
        "#.##.##.#..",
        "#########.#",
        "###.#.###.#",
        ".#######..#",
        "..#####...#",
        ".########.#",
        ".#########.",
        ".##..##....",
    },
    {
        "....####...",
        "..###......",
        ".###.......",
        ".##........",
        "###........",
        "###........",
        "###........",
        ".##........",
        ".###.....#.",
        "..###..###.",
        "....####...",
    },
    {
        "...........",
        "...####...#",
        ".#######.##",
        "##.########",
        "###########",
        "##########.",
        "###########",
        ".#######.##",
        "...####...#",
        "...........",
        "...........",
    },
    {
        ".....#.....",
        "....###....",
        "...#####...",
        "....###....",
        "...#####...",
        "..#######..",
        "...#####...",
        "..#######..",
        ".#########.",
        ".....#.....",
        "....###....",
    },
    {
        "...#####...",
        "..#.....#..",
        "..#.....#..",
        "..#.....#..",
        ".#########.",
        ".####.####.",
        ".###...###.",
        ".####.####.",
        ".####.####.",
        ".#########.",
        "...........",
    },
};

/* A number below `limit`; the bias of a 32-bit product is too small to matter for a picture. */
static uint32_t below(uint32_t random, uint32_t limit)
{
    return (uint32_t)((uint64_t)random * limit >> 32);
}

static void set_pixel(uint32_t x, uint32_t y)
{
    uint32_t pixel = y * SIDE + x;

    sketch_bitmap.bytes[pixel / 8] |= (uint8_t)(0x80 >> pixel % 8);
}

/* One of 8 glyphs, turned or mirrored in one of 8 ways, in one of 36 places: 2304 pictures. */
oe_result_t choose(uint8_t* digest)
{
    struct {
        uint32_t glyph, turn, x, y;
    } random;
    oe_result_t result = oe_random(&random, sizeof random);

    if (result != OE_OK)
        return result;
    const uint32_t glyph = random.glyph % GLYPHS, turn = random.turn % 8;
    const uint32_t left = below(random.x, ROOM), top = below(random.y, ROOM);

    memset(&sketch_bitmap, 0, PAGE);
    for (uint32_t row = 0; row < GLYPH_SIDE; row++)
        for (uint32_t column = 0; column < GLYPH_SIDE; column++) {
            uint32_t x = turn & 1 ? GLYPH_SIDE - 1 - column : column;
            uint32_t y = turn & 2 ? GLYPH_SIDE - 1 - row : row;
            if (glyphs[glyph][row][column] == '#')
                set_pixel(left + (turn & 4 ? y : x), top + (turn & 4 ? x : y));
        }
    tee_sha256(&sketch_bitmap, SIDE * SIDE / 8, digest);
    return OE_OK;
}

void draw(void)
{
    sketch_ink.bytes[0] = 0xff;
    sketch_paper.bytes[0] = 0x00;
    for (uint32_t pixel = 0; pixel < SIDE * SIDE; pixel++) {
        bool set = sketch_bitmap.bytes[pixel / 8] & 0x80 >> pixel % 8;
        uint8_t there = sketch_canvas.bytes[pixel];
        /* The mistake: a secret decides which page is read. */
        uint8_t colour = set ? sketch_ink.bytes[0] : sketch_paper.bytes[0];
        sketch_canvas.bytes[pixel] = (uint8_t)((there + colour) / 2); /* the paint is wet */
    }
    drawn += SIDE * SIDE;
}

int show(void)
{
    return drawn;
}
