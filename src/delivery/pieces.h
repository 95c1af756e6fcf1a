/*
 * pieces: a batch as records mode sees it: each event for each of its records. Internal to delivery/.
 *
 *   mapped   one event with its entity, its version, and its values converted for the table's columns;
 *   piece    a mapped event for one record id: a delivery with an outcome of its own;
 *   record   a record that pieces speak about, once per batch.
 *
 * Calling order: pieces_find (entities, records) -> prepare and load of the mirror -> pieces_map (values,
 * which need the numbers of the fields).
 * Ownership: everything lives in the batch's arena; tables belong to `struct tables`.
 * Thread: the sink's. Errors: ERR_STORE never; what can not be mapped is parked: mapped.parked says why.
 */
#ifndef DELIVERY_PIECES_H
#define DELIVERY_PIECES_H

#include "delivery/batch.h"
#include "delivery/conflict.h"
#include "delivery/map.h"
#include "delivery/tables.h"
#include "delivery/tally.h"
#include "delivery/transaction.h"

/* Worst last: what an event with several pieces counts as. */
enum outcome { OUTCOME_DELIVERED, OUTCOME_SUPERSEDED, OUTCOME_FILTERED, OUTCOME_PARKED };

enum mapped_what {
    MAPPED_CHANGE, /* goes through the conflict check, record by record */
    MAPPED_APPEND, /* a platform event: a row of its own */
    MAPPED_NOTHING /* no rows: parked or filtered as a whole, or only a re-read is owed */
};

/* A long text as the difference to what it was (diffFields). */
struct text_change {
    const struct map_slot *slot;
    uint32_t field; /* its number */
    struct span difference;
};

struct mapped {
    const struct delivery *d;
    size_t event; /* in the batch */
    enum mapped_what what;
    const struct map_entity *entity;
    struct table *table;
    struct conflict_change change;
    const uint32_t *sources; /* per field of the change */
    const struct mirror_value *values;
    const bool *leaves; /* per field: the version counts, the column is left alone */
    bool owes_entity;   /* it names something that is no record: the entity must be re-read */
    uint32_t n_texts;   /* texts that came as differences: their values depend on the record */
    const struct text_change *texts;
    bool misses_text;     /* one of them could not be applied: the record must be re-read */
    uint32_t group;       /* transaction_groups */
    enum outcome outcome; /* of an event without pieces */
    const char *reason;   /* OUTCOME_PARKED: a class, and the whole message */
    const char *why;
};

/* Members of a column that several fields share, until the row is written. */
struct patch {
    uint32_t column;
    const char *member;
    const struct mirror_value *value;
    const struct patch *earlier;
};

struct piece;

struct record {
    struct table *table;
    struct span id;
    struct span hash;          /* of a platform event's payload, as text: several may share an id */
    struct mirror_held held;   /* what the target holds, in this transaction */
    struct record_state safe;  /* the state that goes with it */
    struct record_state state; /* with what was decided since */
    enum conflict_row pending; /* what is to be written of it */
    bool refused, unreadable;
    bool written;      /* in this transaction of the target */
    bool had_modified; /* what its last-modified column said before that */
    int64_t had_modified_ms;
    const char *why; /* refused */
    uint64_t *set;   /* bits of columns that have a value to be written */
    struct mirror_value *values;
    const struct patch *patches;
    int64_t deleted_ms;
    uint64_t seq;
    struct piece *first, *last;  /* in journal order */
    struct piece *first_pending; /* since `safe` */
};

struct piece {
    const struct mapped *of;
    struct record *record;
    struct piece *next; /* of the same record */
    enum outcome outcome;
    bool owes;          /* it must be re-read … */
    bool late;          /* … because it came too late to be compared */
    const char *reason; /* OUTCOME_PARKED */
    const char *detail;
};

struct pieces {
    struct mapped *mapped;
    size_t n_mapped;
    struct piece *pieces;
    size_t n;
    struct record **records;
    size_t n_records;
    struct record **slots; /* hash table */
    size_t mask;
    struct tally cut;    /* values that were cut or emptied, as configured */
    struct tally missed; /* texts that came as differences to others than those that are held */
};

/* `raise`: by how much the epochs of the journal are raised (horizon.h). */
void pieces_find(struct pieces *p, struct batch *b, uint32_t raise, struct map *map, struct tables *tables,
                 const char *subject);
/* Convert the values of every change. */
void pieces_map(struct pieces *p, struct batch *b);

#endif
