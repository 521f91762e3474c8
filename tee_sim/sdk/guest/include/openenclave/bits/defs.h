/* Macros that Open Enclave's headers and programs use. */
#ifndef OE_BITS_DEFS_H
#define OE_BITS_DEFS_H

#ifdef __cplusplus
#define OE_EXTERNC extern "C"
#define OE_EXTERNC_BEGIN extern "C" {
#define OE_EXTERNC_END }
#else
#define OE_EXTERNC
#define OE_EXTERNC_BEGIN
#define OE_EXTERNC_END
#endif

#define OE_API_VERSION 2
#define OE_ENUM_MAX 0xffffffff
#define OE_UNUSED(variable) (void)(variable)
#define OE_COUNTOF(array) (sizeof(array) / sizeof((array)[0]))
#define OE_MIN(x, y) ((x) < (y) ? (x) : (y))
#define OE_MAX(x, y) ((x) > (y) ? (x) : (y))

#endif
