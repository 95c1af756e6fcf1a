/*
 * killpoint: places where a test lets the process die.
 *
 * KILLPOINT("intake.before_commit") does nothing in a release build. With kill points compiled in
 * (TIDEMARK_KILLPOINTS), TIDEMARK_KILL_AT=N makes the Nth visit of any point end the process with
 * _exit(99), as abruptly as kill -9; TIDEMARK_KILL_AT_POINT=name restricts it to one name. Drivers loop
 * N = 1, 2, 3 … until a run ends untouched, so no list of cases is kept by hand.
 *
 * Thread: any.
 */
#ifndef BASE_KILLPOINT_H
#define BASE_KILLPOINT_H

#ifdef TIDEMARK_KILLPOINTS
void killpoint_visit(const char *name);
#define KILLPOINT(name) killpoint_visit(name)
#else
#define KILLPOINT(name) ((void)0)
#endif

#endif
