/* malloc, calloc and realloc that fail once, for callers within one library (glibc). */
#include <stddef.h>
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
static unsigned long from, until;
static long left = -1, calls;

/* Let the call with this number fail (counted from 0; -1: none) of those from these addresses. */
void fail_once(unsigned long start, unsigned long end, long number) {
    from = start; until = end; left = number; calls = 0;
}

long count_calls(void) { return calls; }

static int fails(void *caller) {
    unsigned long at = (unsigned long)caller;
    return at >= from && at < until && calls++ == left;
}

void *malloc(size_t n) { return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t m) { return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(p, n); }
