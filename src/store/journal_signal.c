#include "store/journal_signal.h"

#include <time.h>

void journal_signal_init(struct journal_signal *s, uint64_t head)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&s->lock, NULL);
    s->head = head;
    s->nudges = 0;
}

void journal_signal_release(struct journal_signal *s)
{
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
}

void journal_signal_raise(struct journal_signal *s, uint64_t head)
{
    pthread_mutex_lock(&s->lock);
    if (head > s->head)
        s->head = head;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void journal_signal_nudge(struct journal_signal *s)
{
    pthread_mutex_lock(&s->lock);
    s->nudges++;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

uint64_t journal_signal_wait(struct journal_signal *s, uint64_t beyond, int timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&s->lock);
    uint64_t nudges = s->nudges;
    while (s->head <= beyond && s->nudges == nudges)
        if (pthread_cond_timedwait(&s->changed, &s->lock, &until) != 0)
            break;
    uint64_t head = s->head;
    pthread_mutex_unlock(&s->lock);
    return head;
}
