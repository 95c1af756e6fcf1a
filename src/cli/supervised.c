#include "cli/supervised.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/notify.h"

static void tell(struct supervised *s, const char *message)
{
    struct err e;
    if (notify_send(message, &e) == 0) {
        s->deaf = false;
        return;
    }
    if (!s->deaf)
        log_warn("tidemark", "%s", e.text);
    s->deaf = true;
}

void supervised_init(struct supervised *s)
{
    *s = (struct supervised){.period_ms = notify_watchdog_ms()};
}

void supervised_ready(struct supervised *s)
{
    tell(s, "READY=1\nSTATUS=Running; see: tidemark status");
    s->told_mono_ms = clock_mono_ms(); /* the supervisor counts from here */
}

void supervised_turn(struct supervised *s, int64_t oldest_beat_mono_ms)
{
    int64_t now = clock_mono_ms();
    if (!s->period_ms || now - s->told_mono_ms < s->period_ms / 2 || oldest_beat_mono_ms <= s->told_mono_ms)
        return;
    tell(s, "WATCHDOG=1");
    s->told_mono_ms = now;
}

void supervised_stopping(struct supervised *s)
{
    tell(s, "STOPPING=1\nSTATUS=Draining: what is journaled is being delivered");
}
