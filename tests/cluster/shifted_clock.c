/* Lets the wall clock of a process be wrong by the seconds in SHIFTED_CLOCK, and no other clock.
 *
 *   cc -shared -fPIC -O1 -o shifted_clock.so shifted_clock.c
 *
 * libfaketime 0.9.10 lets Python's time.sleep fail (an absolute clock_nanosleep), or wait for ever.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift(void)
{
    static long seconds;
    static int is_read;
    if (!is_read) {
        const char *text = getenv("SHIFTED_CLOCK");
        seconds = text ? atol(text) : 0;
        is_read = 1;
    }
    return seconds;
}

int clock_gettime(clockid_t id, struct timespec *to)
{
    int failed = (int)syscall(SYS_clock_gettime, id, to);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        to->tv_sec += shift();
    return failed;
}

int gettimeofday(struct timeval *restrict to, void *restrict zone)
{
    (void)zone;
    struct timespec now;
    int failed = clock_gettime(CLOCK_REALTIME, &now);
    if (!failed) {
        to->tv_sec = now.tv_sec;
        to->tv_usec = now.tv_nsec / 1000;
    }
    return failed;
}

time_t time(time_t *to)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to)
        *to = now.tv_sec;
    return now.tv_sec;
}
