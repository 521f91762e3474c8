/* Takes the place of musl's header of this name: one locale, C with UTF-8. Musl's own finds the current
 * one through the thread pointer, which belongs to this runtime here. */
#ifndef LOCALE_IMPL_H
#define LOCALE_IMPL_H
#include <limits.h>
#include <locale.h>
#include <stdlib.h>
#define CURRENT_UTF8 1
#define CURRENT_LOCALE ((locale_t)0)
#define LCTRANS(message, category, locale) (message)
#undef MB_CUR_MAX
#define MB_CUR_MAX 4
#endif
