/*
 * keys: every key of the configuration file, in one table.
 *
 * A row says where a key is, what it holds, its default and range, where the value goes in struct
 * config, and what it is for. Loading, `check --print`, freeing, the JSON Schema and the reference in
 * docs/configuration.md all read this table; none of them knows a key by itself. What a row cannot say
 * (two keys that exclude each other, names that must exist) is in rules.c.
 *
 * Paths: "orgs[].tls.ca_file" is key ca_file in map tls of each item of list orgs; "entities{}.table" is key
 * table under each name in entities; "" is the file itself. Rows of one map stand in the order in which they are printed.
 *
 * Ownership: everything is constant. Thread: any.
 */
#ifndef CONFIG_KEYS_H
#define CONFIG_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum key_type {
    KEY_MAP,
    KEY_LIST,  /* of maps: their keys are the rows below path[] */
    KEY_TABLE, /* a map with names of the user's own: name -> map (the rows below path{}), or false */
    KEY_PAIRS, /* a map with texts of the user's own on both sides: text -> text */
    KEY_TEXT,
    KEY_BOOL,
    KEY_INT,
    KEY_SIZE,          /* bytes: 64KiB, 10GiB */
    KEY_DURATION,      /* milliseconds: 500ms, 96h */
    KEY_WORD,          /* one of `words`; the index goes into an enum */
    KEY_START,         /* latest, earliest or a replay id: struct subscription_config */
    KEY_LISTEN,        /* "host:port" or false: config.admin */
    KEY_ORG,           /* the name of an org: its index */
    KEY_SUBSCRIPTIONS, /* a list of subscription names: struct sink_config */
};

enum key_flag {
    KEY_REQUIRED = 1 << 0,
    KEY_SECRET = 1 << 1,   /* never shown, wiped; NAME_file reads it from a file */
    KEY_LATER = 1 << 2,    /* belongs to the format, but this version cannot do it: an error, never ignored */
    KEY_CHOICE = 1 << 3,   /* exactly one of the maps marked so; `choice` goes into the enum at `offset` */
    KEY_OFF = 1 << 4,      /* a map that may be `false` instead */
    KEY_NONEMPTY = 1 << 5, /* a list with at least one item, unless the caller needs no sinks */
    KEY_LINES = 1 << 6,    /* a text of several lines (PEM); every other text is one line */
    KEY_FIXED = 1 << 7,    /* of the file itself: cannot change while the daemon runs */
    KEY_EVENTS = 1 << 8,   /* of sinks that append events: has no effect on others */
    KEY_MIRROR = 1 << 9,   /* of sinks that mirror records: has no effect on others */
    KEY_INHERIT = 1 << 10, /* a KEY_WORD: -1 until said; then the rules fill in the outer value */
};

/* A word of KEY_WORD; the table ends with text == NULL. */
struct key_word {
    const char *text;
    bool later; /* as KEY_LATER */
};

/*
 * What a text must look like. check may shorten the text in place (a trailing slash goes); it returns
 * false when the text is not acceptable, and the message is "must be <must>".
 */
struct text_rule {
    const char *must;
    const char *pattern; /* for the JSON Schema; NULL: none */
    bool (*check)(char *text);
};

#define KEY_NOT_STORED ((size_t)-1) /* only one value is possible: nothing to keep */

struct key {
    const char *path;
    enum key_type type;
    unsigned flags;
    size_t offset;        /* in the struct of the nearest list item, or in struct config */
    const char *fallback; /* the default as a user would write it; NULL: none */
    int64_t min, max;     /* INT, SIZE, DURATION */
    const struct key_word *words;
    const struct text_rule *rule;
    int choice;
    struct {
        size_t item_size, count_offset; /* LIST, TABLE, PAIRS: elements, and a uint32_t beside the pointer */
        unsigned max;
        size_t name_offset, value_offset;  /* TABLE, PAIRS: the text in front; PAIRS: the text behind it */
        size_t skip_offset;                /* TABLE: a bool that `false` sets */
        const struct text_rule *name_rule; /* TABLE, PAIRS */
    } list;
    const char *help;
};

extern const struct key config_keys[];
extern const size_t config_n_keys;

/* The row with this path; NULL when there is none. */
const struct key *key_find(const char *path);
/*
 * The rows directly inside `parent` (a map, a list's items; NULL: the file), one after the other:
 * pass the last one, or NULL to begin. NULL at the end.
 */
const struct key *key_next_child(const struct key *parent, const struct key *last);
const struct key *key_child(const struct key *parent, const char *name, size_t name_len);
/* The map or list that holds the row; NULL: the file. */
const struct key *key_parent(const struct key *key);
/* True when the row's offset counts in an item of `list`, a LIST or TABLE (NULL: in struct config). */
bool key_in_scope(const struct key *list, const struct key *key);
/* A row with items of its own, which own their members. */
bool key_has_items(const struct key *key);
/* The last part of the path: "ca_file". */
const char *key_name(const struct key *key);

#endif
