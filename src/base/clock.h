/*
 * clock: two clocks, two functions.
 *
 * clock_mono_ms is for waiting: it never jumps. clock_wall_ms is for showing, and for stamps that go
 * into the store. Ages that decide anything are measured in source time (DESIGN: never the local
 * clock).
 *
 * Time is injected: a test may hold both clocks and move them. TIDEMARK_TEST_CLOCK_SCALE=N (kill point
 * builds only) makes both run N times as fast.
 *
 * Thread: any.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
int64_t clock_wall_ms(void); /* since 1970, UTC */

/* Tests: hold both clocks at these values, until clock_release. */
void clock_hold(int64_t mono_ms, int64_t wall_ms);
void clock_advance(int64_t ms);
void clock_release(void);

/* "2026-05-06T14:30:00.123Z": 24 bytes and a NUL into out[25]. */
void clock_format_ms(int64_t wall_ms, char out[25]);

#endif
