/* Standard output and error: each call leaves for the host at once, as one ocall.
 *
 * Part of the libc archive, because it knows musl's FILE. The streams have no buffer and no lock: what
 * a thread prints is formatted on its own stack first, and no lock is held while the host has the text. */
#include "stdio_impl.h"
#include <stdarg.h>
#include <stdlib.h>

hidden long tee_print(int stream, const void* text, size_t size);

static size_t print(FILE* stream, const unsigned char* text, size_t size)
{
    return tee_print(stream->fd, text, size) == 0 ? size : 0;
}

FILE __stdout_FILE = {.fd = 1, .lbf = EOF, .lock = -1, .write = print, .flags = F_PERM | F_NORD};
FILE __stderr_FILE = {.fd = 2, .lbf = EOF, .lock = -1, .write = print, .flags = F_PERM | F_NORD};
#undef stdout
#undef stderr
FILE* const stdout = &__stdout_FILE;
FILE* const stderr = &__stderr_FILE;

#undef vfprintf
int vfprintf(FILE* restrict stream, const char* restrict format, va_list arguments)
{
    char short_text[256], *text = short_text;
    va_list again;

    va_copy(again, arguments);
    int size = vsnprintf(text, sizeof short_text, format, arguments);
    if (size >= (int)sizeof short_text && (text = malloc((size_t)size + 1)))
        vsnprintf(text, (size_t)size + 1, format, again);
    va_end(again);
    if (size < 0 || !text || fwrite(text, 1, (size_t)size, stream) != (size_t)size)
        size = -1;
    if (text != short_text)
        free(text);
    return size;
}

int vprintf(const char* restrict format, va_list arguments)
{
    return vfprintf(stdout, format, arguments);
}

int fprintf(FILE* restrict stream, const char* restrict format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vfprintf(stream, format, arguments);
    va_end(arguments);
    return size;
}

int printf(const char* restrict format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vfprintf(stdout, format, arguments);
    va_end(arguments);
    return size;
}

/* One call, where musl would make two. */
int puts(const char* text)
{
    return printf("%s\n", text);
}

int fflush(FILE* stream)
{
    return 0; /* nothing is ever kept back */
}
