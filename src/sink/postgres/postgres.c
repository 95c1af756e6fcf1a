/* The PostgreSQL mirror: its life, and the table of its functions. */
#include "sink/postgres/postgres.h"

#include "base/alloc.h"
#include "sink/mirrors.h"

#include <stdlib.h>

static struct mirror *pg_new(const struct sink_config *config)
{
    struct mirror *m = xcalloc(1, sizeof *m);
    m->name = xstrdup(config->name);
    m->renamed_from = config->renamed_from ? xstrdup(config->renamed_from) : NULL;
    m->dsn = xstrdup(config->dsn ? config->dsn : "");
    pg_init(&m->pg);
    return m;
}

static void pg_close(struct mirror *m)
{
    m->open = m->in_transaction = false;
    m->begun = 0;
    pg_disconnect(&m->pg);
    pg_drop_sent(m);
    pg_tables_forget(m, false);
}

static int pg_open(struct mirror *m, struct buf *notice, struct err *e)
{
    struct buf name = BUF_INIT;
    BUG_IF(m->open);
    pg_close(m);
    buf_addf(&name, "tidemark sink %s", m->name);
    int rc = pg_connect(&m->pg, m->dsn, (const char *)name.data, PG_FOR_WRITING, notice, e);
    buf_release(&name);
    if (rc == 0)
        rc = pg_own_tables(m, notice, e);
    m->open = rc == 0;
    if (rc != 0)
        pg_close(m);
    return rc;
}

static void pg_interrupt_mirror(struct mirror *m)
{
    pg_interrupt(&m->pg);
}

static void pg_free(struct mirror *m)
{
    if (!m)
        return;
    pg_close(m);
    pg_release(&m->pg);
    pg_tables_release(m);
    arena_release(&m->sent.arena);
    pg_params_release(&m->params);
    buf_release(&m->sql);
    buf_release(&m->state);
    wipe(m->dsn, strlen(m->dsn));
    free(m->dsn);
    free(m->name);
    free(m->renamed_from);
    free(m);
}

const struct mirror_ops mirror_postgres_ops = {
    .kind = "postgres",
    .new = pg_new,
    .open = pg_open,
    .fence = pg_fence,
    .fields = pg_fields,
    .begin = pg_begin,
    .prepare = pg_prepare,
    .load = pg_load,
    .text = pg_text,
    .send = pg_send_rows,
    .write = pg_write,
    .forget = pg_forget,
    .commit = pg_commit,
    .rollback = pg_rollback,
    .look = pg_look,
    .row = pg_row,
    .inspect = pg_inspect,
    .show_table = pg_show_table,
    .show_row = pg_show_row,
    .interrupt = pg_interrupt_mirror,
    .close = pg_close,
    .free = pg_free,
};
