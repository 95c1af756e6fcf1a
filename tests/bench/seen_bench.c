/*
 * What the seen set costs: CPU per identity at N held, for misses and hits, bytes on disk, opening, steps.
 *
 *   seen_bench FOLDER [millions held, default 10] [identities per transaction, default 2000] [fan-out] [levels]
 *
 * CPU is that of the thread, user and system, writing included. The folder is made, filled up to the number asked for,
 * and kept: the next run may go on from there.
 */
#include "base/alloc.h"
#include "base/random.h"
#include "store/seen.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum part { FIND, ADD, COMMIT, MAINTAIN, PARTS };
static const char *const part_names[PARTS] = {"find", "add", "commit of the log", "seal and merge, commits included"};

struct bench {
    struct store *st;
    struct seen *seen;
    uint64_t held, batch;
    int64_t cpu_ns[PARTS];
    int64_t worst_step_cpu_ns, worst_step_wall_ns, worst_write_wall_ns;
    uint64_t steps, false_hits;
    long peak_kib;
};

static int64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t cpu_now(void)
{
    return now_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void must(int rc, const struct err *e)
{
    if (rc == 0)
        return;
    fprintf(stderr, "seen_bench: %s\n", e->text);
    exit(1);
}

static struct identity identity_of(uint64_t i)
{
    struct rng r = {i * 0x2545f4914f6cdd1dULL + 1};
    return (struct identity){rng_next(&r), rng_next(&r)};
}

static long anonymous_kib(void)
{
    char line[256];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "RssAnon:", 8) == 0)
            kib = strtol(line + 8, NULL, 10);
    if (f)
        fclose(f);
    return kib;
}

static void maintain(struct bench *b)
{
    struct err e = ERR_INIT;
    struct store_txn txn;
    while (seen_wants_maintenance(b->seen, 0)) {
        int64_t wall = now_ns(CLOCK_MONOTONIC), cpu = cpu_now();
        must(store_begin(b->st, true, &txn, &e), &e);
        must(seen_begin(b->seen, &txn, &e), &e);
        must(seen_maintain(b->seen, &txn, 0, &e), &e);
        int64_t step_cpu = cpu_now() - cpu, step_wall = now_ns(CLOCK_MONOTONIC) - wall;
        long kib = b->steps % 16 == 0 ? anonymous_kib() : 0;
        cpu = cpu_now() - step_cpu;
        must(store_commit(&txn, &e), &e);
        seen_committed(b->seen);
        cpu = cpu_now() - cpu;
        wall = now_ns(CLOCK_MONOTONIC) - wall;
        b->cpu_ns[MAINTAIN] += cpu;
        b->peak_kib = kib > b->peak_kib ? kib : b->peak_kib;
        b->worst_step_cpu_ns = cpu > b->worst_step_cpu_ns ? cpu : b->worst_step_cpu_ns;
        b->worst_step_wall_ns = wall > b->worst_step_wall_ns ? wall : b->worst_step_wall_ns;
        b->worst_write_wall_ns = step_wall > b->worst_write_wall_ns ? step_wall : b->worst_write_wall_ns;
        b->steps++;
    }
}

/* One transaction as intake makes it: look for a batch of new identities, add it, commit. */
static void add_batch(struct bench *b, struct identity *ids, bool *held)
{
    struct err e = ERR_INIT;
    struct store_txn txn;
    for (uint64_t i = 0; i < b->batch; i++)
        ids[i] = identity_of(b->held + i);
    int64_t t0 = cpu_now();
    must(store_begin(b->st, true, &txn, &e), &e);
    must(seen_begin(b->seen, &txn, &e), &e);
    must(seen_find(b->seen, &txn, ids, b->batch, held, &e), &e);
    int64_t t1 = cpu_now();
    must(seen_add(b->seen, &txn, ids, b->batch, (int64_t)b->held, &e), &e);
    int64_t t2 = cpu_now();
    must(store_commit(&txn, &e), &e);
    seen_committed(b->seen);
    int64_t t3 = cpu_now();
    b->cpu_ns[FIND] += t1 - t0;
    b->cpu_ns[ADD] += t2 - t1;
    b->cpu_ns[COMMIT] += t3 - t2;
    for (uint64_t i = 0; i < b->batch; i++)
        b->false_hits += held[i];
    b->held += b->batch;
}

static void report(struct bench *b, uint64_t n)
{
    struct seen_stats stats;
    int64_t sum = 0;
    seen_stats(b->seen, &stats);
    printf("%8.2f M held, %2u runs:", (double)stats.identities / 1e6, stats.runs);
    for (int i = 0; i < PARTS; i++) {
        printf(" %s %.0f,", part_names[i], (double)b->cpu_ns[i] / (double)n);
        sum += b->cpu_ns[i];
    }
    printf(" sum %.0f ns CPU per identity\n", (double)sum / (double)n);
    memset(b->cpu_ns, 0, sizeof b->cpu_ns);
    fflush(stdout);
}

static void fill(struct bench *b, uint64_t target)
{
    struct identity *ids = xcalloc(b->batch, sizeof *ids);
    bool *held = xcalloc(b->batch, sizeof *held);
    uint64_t reported = b->held;
    while (b->held < target) {
        add_batch(b, ids, held);
        maintain(b);
        if (b->held - reported >= 2000000) {
            report(b, b->held - reported);
            reported = b->held;
        }
    }
    free(ids);
    free(held);
}

/* Misses or hits alone, in groups of `group`, best of five. */
static void look_up(struct bench *b, const char *what, uint64_t from, uint64_t range, size_t group)
{
    enum { LOOKUPS = 400000 };
    struct err e = ERR_INIT;
    struct store_txn txn;
    struct identity *ids = xcalloc(LOOKUPS, sizeof *ids);
    bool *held = xcalloc(LOOKUPS, sizeof *held);
    struct rng r = {from + 7};
    int64_t best = INT64_MAX, first_wall = 0;
    uint64_t found = 0;
    must(store_begin(b->st, true, &txn, &e), &e);
    must(seen_begin(b->seen, &txn, &e), &e);
    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i < LOOKUPS; i++)
            ids[i] = identity_of(from + rng_below(&r, range));
        int64_t t = cpu_now(), wall = now_ns(CLOCK_MONOTONIC);
        for (size_t i = 0; i < LOOKUPS; i += group)
            must(seen_find(b->seen, &txn, ids + i, LOOKUPS - i < group ? LOOKUPS - i : group, held + i, &e), &e);
        t = cpu_now() - t;
        if (round == 0)
            first_wall = now_ns(CLOCK_MONOTONIC) - wall;
        best = t < best ? t : best;
        found = 0;
        for (size_t i = 0; i < LOOKUPS; i++)
            found += held[i];
    }
    store_abort(&txn);
    seen_aborted(b->seen);
    printf("%s, %zu at a time: %.0f ns CPU each, first round %.0f ns wall (%.4f %% found)\n", what, group,
           (double)best / LOOKUPS, (double)first_wall / LOOKUPS, 100.0 * (double)found / LOOKUPS);
    free(ids);
    free(held);
}

static void sizes(struct bench *b)
{
    static const struct {
        enum store_db db;
        const char *name;
    } parts[] = {{DB_SEEN_LOG, "log"}, {DB_SEEN_RUNS, "identities"}, {DB_SEEN_FILTERS, "filters"}};
    struct err e = ERR_INIT;
    struct store_txn txn;
    struct seen_stats stats;
    struct store_space space;
    seen_stats(b->seen, &stats);
    must(store_begin(b->st, false, &txn, &e), &e);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        MDB_stat s;
        mdb_stat(txn.mdb, store_dbi(b->st, parts[i].db), &s);
        double bytes = (double)(s.ms_branch_pages + s.ms_leaf_pages + s.ms_overflow_pages) * s.ms_psize;
        printf("%s: %.1f MiB, %.2f bytes per identity held\n", parts[i].name, bytes / 1048576,
               bytes / (double)stats.identities);
    }
    store_abort(&txn);
    must(store_space(b->st, &space, &e), &e);
    printf("file %.1f MiB, live %.1f MiB\n", (double)space.file_bytes / 1048576, (double)space.live_bytes / 1048576);
}

static void reopen(struct bench *b, const char *folder, bool cold)
{
    struct err e = ERR_INIT;
    struct store_txn txn;
    seen_close(b->seen);
    store_close(b->st);
    if (cold) {
        char *path = xasprintf("%s/data.mdb", folder);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        fsync(fd);
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
        free(path);
    }
    must(store_open(folder, STORE_DAEMON, 64LL << 30, &b->st, &e), &e);
    int64_t t = now_ns(CLOCK_MONOTONIC), cpu = cpu_now();
    must(seen_open(b->st, &b->seen, &e), &e);
    must(store_begin(b->st, true, &txn, &e), &e);
    must(seen_begin(b->seen, &txn, &e), &e);
    t = now_ns(CLOCK_MONOTONIC) - t;
    cpu = cpu_now() - cpu;
    store_abort(&txn);
    printf("open and first begin, file %s: %.2f ms (CPU %.2f ms), anonymous memory then %ld KiB\n",
           cold ? "not cached" : "cached", (double)t / 1e6, (double)cpu / 1e6, anonymous_kib());
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: seen_bench FOLDER [MILLIONS [PER_TRANSACTION [FAN_OUT [LEVELS]]]]\n");
        return 2;
    }
    struct err e = ERR_INIT;
    struct bench b = {.batch = argc > 3 ? strtoull(argv[3], NULL, 10) : 2000};
    uint64_t millions = argc > 2 ? strtoull(argv[2], NULL, 10) : 10;
    struct seen_params params = seen_default_params();
    if (argc > 4)
        params.fan_out = (uint32_t)strtoul(argv[4], NULL, 10);
    if (argc > 5)
        params.levels = (uint32_t)strtoul(argv[5], NULL, 10);
    must(store_open(argv[1], STORE_DAEMON, 64LL << 30, &b.st, &e), &e);
    must(seen_open_with(b.st, &params, &b.seen, &e), &e);
    long before_kib = anonymous_kib();
    struct seen_stats stats;
    seen_stats(b.seen, &stats);
    b.held = stats.identities;
    fill(&b, millions * 1000000);
    printf("false hits %" PRIu64 ", steps %" PRIu64 ", worst step: CPU %.1f ms, wall %.1f ms, of which before the commit %.1f ms\n",
           b.false_hits, b.steps, (double)b.worst_step_cpu_ns / 1e6, (double)b.worst_step_wall_ns / 1e6,
           (double)b.worst_write_wall_ns / 1e6);
    printf("anonymous memory: %ld KiB before, at most %ld KiB before a step's commit, %ld KiB after\n", before_kib,
           b.peak_kib, anonymous_kib());
    look_up(&b, "misses", 1ULL << 40, 1ULL << 40, 2000);
    look_up(&b, "misses", 1ULL << 40, 1ULL << 40, 100);
    look_up(&b, "misses", 1ULL << 40, 1ULL << 40, 1);
    look_up(&b, "hits, anywhere", 0, b.held, 2000);
    look_up(&b, "hits, newest 20,000", b.held - 20000, 20000, 2000);
    sizes(&b);
    reopen(&b, argv[1], false);
    reopen(&b, argv[1], true);
    look_up(&b, "misses", 1ULL << 40, 1ULL << 40, 2000);
    seen_close(b.seen);
    store_close(b.st);
    return 0;
}
