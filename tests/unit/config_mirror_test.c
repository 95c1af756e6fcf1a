/*
 * The configuration of sinks that mirror records: keys with names of the user's own, what entities inherit, what
 * must be said, and what cannot be.
 */
#include "config_text.h"

#include "base/alloc.h"
#include "config/keys.h"
#include "config/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Lines 1 to 6. */
#define TOP ORG SUB
/* Lines 7 to 10; more of the sink follows. */
#define MIRROR                                                                                               \
    TOP "sinks:\n"                                                                                           \
        "  - name: warehouse\n"                                                                              \
        "    sqlite: { path: /tmp/tidemark-test/mirror.db }\n"                                               \
        "    on_delete: soft\n"

/* Every key of mirrors, none at its default. */
static const char everything[] = TOP "sinks:\n"
                                     "  - name: warehouse\n"
                                     "    sqlite: { path: /tmp/tidemark-test/mirror.db }\n"
                                     "    on_delete: archive\n"
                                     "    conflict: park\n"
                                     "    new_fields: json\n"
                                     "    compounds: json\n"
                                     "    transactions: atomic\n"
                                     "    entities:\n"
                                     "      Account:\n"
                                     "        table: \"Accounts of the org\"\n"
                                     "        key: sf_id\n"
                                     "        last_modified_column: updated_at\n"
                                     "        skip_unchanged: true\n"
                                     "        on_delete: hard\n"
                                     "        conflict: source_wins\n"
                                     "        new_fields: ignore\n"
                                     "        compounds: flatten\n"
                                     "        fields:\n"
                                     "          Industry: { column: industry, map: { Tech: technology, "
                                     "\"true\": \"\", \"${x}\": \"$${y}\" }, on_unknown: keep }\n"
                                     "          Phone: { clean: phone, max_length: 20, on_too_long: flag }\n"
                                     "          OwnerId: { owner: target, nulls: keep }\n"
                                     "          CloseDate: { type: date, on_error: null }\n"
                                     "          BillingAddress.City: { column: city }\n"
                                     "          LastModifiedDate: { column: updated_at }\n"
                                     "          Rating: false\n"
                                     "          Fax:\n"
                                     "        constants: { source: \"salesforce\" }\n"
                                     "      Contact: {}\n"
                                     "      Lead: false\n"
                                     "      Order__e:\n"
                                     "  - name: other\n"
                                     "    postgres: { dsn: \"host=db password=S3CRET\" }\n"
                                     "    batch: { events: 1000 }\n"
                                     "    entities: { Account: { on_delete: ignore } }\n"
                                     "  - name: third\n"
                                     "    postgres:\n"
                                     "    batch: { wait: 1s }\n"
                                     "    on_delete: ignore\n"
                                     "    entities: { Lead: false }\n";

static void every_key_arrives_where_it_belongs(void **state)
{
    (void)state;
    struct config *c = load_good(everything);
    const struct sink_config *sink = &c->sinks[0];
    assert_int_equal(sink->kind, SINK_KIND_SQLITE);
    assert_string_equal(sink->path, "/tmp/tidemark-test/mirror.db");
    assert_int_equal(sink->on_delete, DELETE_ARCHIVE);
    assert_int_equal(sink->conflict, CONFLICT_PARK);
    assert_int_equal(sink->new_fields, NEW_FIELDS_JSON);
    assert_int_equal(sink->compounds, COMPOUNDS_JSON);
    assert_int_equal(sink->transactions, TRANSACTIONS_ATOMIC);
    assert_true(sink->only_listed);
    assert_int_equal(sink->n_entities, 4);

    const struct entity_config *account = &sink->entities[0];
    assert_string_equal(account->entity, "Account");
    assert_string_equal(account->table, "Accounts of the org");
    assert_string_equal(account->key, "sf_id");
    assert_string_equal(account->last_modified_column, "updated_at");
    assert_true(account->skip_unchanged);
    assert_int_equal(account->on_delete, DELETE_HARD);
    assert_int_equal(account->conflict, CONFLICT_SOURCE_WINS);
    assert_int_equal(account->new_fields, NEW_FIELDS_IGNORE);
    assert_int_equal(account->compounds, COMPOUNDS_FLATTEN);
    assert_int_equal(account->n_constants, 1);
    assert_string_equal(account->constants[0].column, "source");
    assert_string_equal(account->constants[0].value, "salesforce");
    assert_int_equal(account->n_fields, 8);
    const struct field_config *f = account->fields;
    assert_string_equal(f[0].field, "Industry");
    assert_string_equal(f[0].column, "industry");
    assert_int_equal(f[0].n_map, 3);
    assert_string_equal(f[0].map[0].from, "Tech");
    assert_string_equal(f[0].map[0].to, "technology");
    assert_string_equal(f[0].map[1].from, "true");
    assert_string_equal(f[0].map[1].to, "");
    assert_string_equal(f[0].map[2].from, "${x}"); /* variables are replaced in values only */
    assert_string_equal(f[0].map[2].to, "${y}");
    assert_int_equal(f[0].on_unknown, UNKNOWN_KEEP);
    assert_int_equal(f[1].clean, CLEAN_PHONE);
    assert_int_equal(f[1].max_length, 20);
    assert_int_equal(f[1].on_too_long, TOO_LONG_FLAG);
    assert_int_equal(f[2].owner, OWNER_TARGET);
    assert_int_equal(f[2].nulls, NULLS_KEEP);
    assert_int_equal(f[3].type, FIELD_TYPE_DATE);
    assert_int_equal(f[3].on_error, ERROR_NULL);
    assert_string_equal(f[4].field, "BillingAddress.City");
    assert_true(f[6].skipped);
    assert_false(f[7].skipped);
    assert_int_equal(f[7].type, FIELD_TYPE_OF_SCHEMA);
    assert_int_equal(f[7].on_unknown, UNKNOWN_PARK);
    assert_int_equal(f[7].on_too_long, TOO_LONG_PARK);
    assert_int_equal(f[7].on_error, ERROR_PARK);
    assert_int_equal(f[7].nulls, NULLS_WRITE);
    assert_int_equal(f[7].owner, OWNER_SOURCE);
    assert_null(f[7].column);

    assert_true(sink->entities[2].skipped);
    assert_int_equal(sink->entities[3].n_fields, 0);
    assert_null(sink->entities[3].key);
    const struct sink_config *other = &c->sinks[1];
    assert_int_equal(other->kind, SINK_KIND_POSTGRES);
    assert_string_equal(other->dsn, "host=db password=S3CRET");
    assert_int_equal(sink->batch_events, 5000);
    assert_int_equal(other->batch_events, 1000);
    assert_int_equal(c->sinks[2].batch_events, 5000);
    assert_int_equal(other->on_delete, DELETE_UNSET);
    assert_int_equal(other->entities[0].on_delete, DELETE_IGNORE);
    assert_int_equal(other->conflict, CONFLICT_NEWEST_WINS);
    assert_int_equal(other->new_fields, NEW_FIELDS_ADD);
    assert_int_equal(other->compounds, COMPOUNDS_FLATTEN);
    assert_int_equal(other->transactions, TRANSACTIONS_BEST_EFFORT);
    assert_string_equal(c->sinks[2].dsn, "");
    assert_false(c->sinks[2].only_listed); /* everything but what is switched off */
    config_free(c);
}

static void entities_inherit_what_they_do_not_say(void **state)
{
    (void)state;
    struct config *c = load_good(everything);
    const struct entity_config *contact = &c->sinks[0].entities[1];
    assert_string_equal(contact->entity, "Contact");
    assert_int_equal(contact->on_delete, DELETE_ARCHIVE);
    assert_int_equal(contact->conflict, CONFLICT_PARK);
    assert_int_equal(contact->new_fields, NEW_FIELDS_JSON);
    assert_int_equal(contact->compounds, COMPOUNDS_JSON);
    config_free(c);
}

static void no_key_of_a_mirror_is_forgotten_here(void **state)
{
    (void)state;
    for (const struct key *k = config_keys; k < config_keys + config_n_keys; k++) {
        bool ours = (k->flags & KEY_MIRROR) || strncmp(k->path, "sinks[].entities", 16) == 0 ||
                    strncmp(k->path, "sinks[].sqlite", 14) == 0 ||
                    strncmp(k->path, "sinks[].postgres", 16) == 0;
        char *name = xasprintf("%s:", key_name(k));
        if (ours && !strstr(everything, name))
            fail_msg("%s is not in the file that has everything", k->path);
        free(name);
    }
}

static void the_printed_configuration_loads_to_the_same_one(void **state)
{
    (void)state;
    static const char *const files[] = {
        everything, MIRROR,
        TOP "sinks:\n  - { name: a, postgres: { dsn: host=a }, on_delete: hard }\n"
            "  - { name: b, postgres: { dsn: host=b }, on_delete: hard }\n"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct buf once = BUF_INIT, twice = BUF_INIT;
        struct config *c = load_good(files[i]);
        config_print(c, &once);
        assert_null(strstr((char *)once.data, "S3CRET"));
        config_free(c);
        c = load_good((char *)once.data);
        config_print(c, &twice);
        assert_string_equal((char *)once.data, (char *)twice.data);
        config_free(c);
        buf_release(&once);
        buf_release(&twice);
    }
    struct buf out = BUF_INIT;
    struct config *c = load_good(
        MIRROR "    entities: { Account: { fields: { Rating: false, \"Name\": { map: { \"1\": b } } } } }\n");
    config_print(c, &out);
    config_free(c);
    char *sinks = strstr((char *)out.data, "sinks:"), *end = strstr((char *)out.data, "store:");
    assert_true(sinks && end);
    *end = '\0';
    assert_string_equal(sinks, "sinks:\n"
                               "  - name: warehouse\n"
                               "    subscriptions: [accounts]\n"
                               "    sqlite:\n"
                               "      path: /tmp/tidemark-test/mirror.db\n"
                               "    start: journal\n"
                               "    batch:\n"
                               "      events: 5000\n"
                               "      wait: 10ms\n"
                               "    on_delete: soft\n"
                               "    conflict: newest_wins\n"
                               "    new_fields: add\n"
                               "    compounds: flatten\n"
                               "    transactions: best_effort\n"
                               "    entities:\n"
                               "      Account:\n"
                               "        skip_unchanged: false\n"
                               "        on_delete: soft\n"
                               "        conflict: newest_wins\n"
                               "        new_fields: add\n"
                               "        compounds: flatten\n"
                               "        fields:\n"
                               "          Rating: false\n"
                               "          Name:\n"
                               "            type: schema\n"
                               "            clean: none\n"
                               "            max_length: 0\n"
                               "            on_too_long: park\n"
                               "            map:\n"
                               "              \"1\": b\n"
                               "            on_unknown: park\n"
                               "            on_error: park\n"
                               "            nulls: write\n"
                               "            owner: source\n");
    buf_release(&out);
}

static void deletes_have_no_default(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {TOP "sinks:\n  - { name: w, sqlite: { path: /tmp/m.db } }\n",
         "t.yaml:8:5: sinks[0].on_delete: is required: hard, soft, archive or ignore; there is no default "
         "for "
         "deletes\n"},
        {TOP "sinks:\n  - { name: w, sqlite: { path: /tmp/m.db }, entities: { Account: {}, Order__e: {}, "
             "Lead: false, Case: { "
             "on_delete: soft } } }\n",
         "t.yaml:8:66: sinks[0].entities.Account.on_delete: is required: hard, soft, archive or ignore; "
         "there is no "
         "default for deletes\n"},
        {TOP "sinks:\n  - { name: w, sqlite: { path: /tmp/m.db }, entities: { Account: false } }\n",
         "t.yaml:8:5: sinks[0].on_delete: is required: hard, soft, archive or ignore; there is no default "
         "for "
         "deletes\n"},
        {TOP "sinks:\n  - { name: w, postgres: , on_delete: delete }\n",
         "t.yaml:8:39: sinks[0].on_delete: must be hard, soft, archive or ignore, not 'delete'\n"},
        {TOP "sinks:\n  - { name: w, postgres: , on_delete: sofr }\n",
         "t.yaml:8:39: sinks[0].on_delete: must be hard, soft, archive or ignore, not 'sofr' (did you mean "
         "'soft'?)\n"},
    };
    assert_all(cases, ARRAY_LEN(cases));
    struct config *c = load_good(TOP "  - { name: orders, org: main, topic: /event/Order__e }\n"
                                     "sinks: [{ name: w, postgres: , subscriptions: [orders] }]\n");
    config_free(c); /* what only platform events reach has no deletes */
}

static void keys_without_effect_are_refused(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {MIRROR "    order: strict\n",
         "t.yaml:11:12: sinks[0].order: has no effect on a sink that mirrors records (sqlite)\n"},
        {TOP "sinks:\n  - { name: a, stdout: , on_delete: soft, conflict: park, transactions: atomic, "
             "entities: { A: {} } }\n",
         "t.yaml:8:37: sinks[0].on_delete: has no effect on a sink that does not mirror records (stdout)\n"
         "t.yaml:8:53: sinks[0].conflict: has no effect on a sink that does not mirror records (stdout)\n"
         "t.yaml:8:73: sinks[0].transactions: has no effect on a sink that does not mirror records (stdout)\n"
         "t.yaml:8:91: sinks[0].entities: has no effect on a sink that does not mirror records (stdout)\n"},
        {MIRROR "    entities: { A: { fields: { F: { on_too_long: truncate, on_unknown: keep } } } }\n",
         "t.yaml:11:50: sinks[0].entities.A.fields.F.on_too_long: has no effect without 'max_length'\n"
         "t.yaml:11:72: sinks[0].entities.A.fields.F.on_unknown: has no effect without 'map'\n"},
        {MIRROR "    entities: { A: { fields: { F: { type: date, max_length: 3, clean: trim }, G: { type: "
                "integer, clean: phone } } } }\n",
         "t.yaml:11:61: sinks[0].entities.A.fields.F.max_length: has no effect: it is for text, and 'type' "
         "says "
         "otherwise\n"
         "t.yaml:11:71: sinks[0].entities.A.fields.F.clean: has no effect with this 'type'\n"
         "t.yaml:11:106: sinks[0].entities.A.fields.G.clean: phone numbers are text: a number would lose "
         "their first "
         "zeros; use 'type: text'\n"},
    };
    assert_all(cases, ARRAY_LEN(cases));
}

static void two_orgs_in_one_mirror_are_warned_of(void **state)
{
    (void)state;
    struct buf problems = BUF_INIT;
    struct config *c = load(
        "orgs:\n"
        "  - { name: a, login_url: https://a.example, auth: { client_credentials: { client_id: i, "
        "client_secret: s } } }\n"
        "  - { name: b, login_url: https://b.example, auth: { client_credentials: { client_id: i, "
        "client_secret: s } } }\n"
        "subscriptions:\n"
        "  - { name: one, org: a, topic: /data/AccountChangeEvent }\n"
        "  - { name: two, org: b, topic: /data/AccountChangeEvent }\n"
        "sinks:\n"
        "  - { name: w, sqlite: { path: /tmp/tidemark-test/m.db }, on_delete: soft }\n"
        "  - { name: x, sqlite: { path: /tmp/tidemark-test/x.db }, on_delete: soft, subscriptions: [one] }\n",
        0, &problems);
    assert_non_null(c);
    assert_string_equal(
        (char *)problems.data,
        "t.yaml:8:5: sinks[0].subscriptions: warning: mirrors the orgs a and b in the same tables: custom "
        "fields of one name get a column for each; a sink per org keeps them apart\n");
    config_free(c);
    buf_release(&problems);
}

static void names_of_the_users_own_are_checked(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {MIRROR "    entities:\n",
         "t.yaml:11:14: sinks[0].entities: must not be empty; leave the key out instead\n"},
        {MIRROR "    entities: [Account]\n",
         "t.yaml:11:15: sinks[0].entities: must be a mapping: one 'name: value' per line\n"},
        {MIRROR "    entities: { A: true }\n",
         "t.yaml:11:20: sinks[0].entities.A: must be a mapping: one 'key: value' per line, or false\n"},
        {MIRROR "    entities: { A: {}, A: false }\n", "t.yaml:11:24: sinks[0].entities.A: is given twice\n"},
        {MIRROR "    entities: { \"A B\": {}, \"\": {} }\n",
         "t.yaml:11:17: sinks[0].entities.A B: must be the API name of an entity, like Account or Order__e, "
         "not "
         "'A B'\n"
         "t.yaml:11:28: sinks[0].entities.: must be the API name of an entity, like Account or Order__e, not "
         "''\n"},
        {MIRROR "    entities: { A: { tabel: x, fields: { F.G.H: {}, F: { colum: y } } } }\n",
         "t.yaml:11:22: sinks[0].entities.A.tabel: unknown key (did you mean 'table'?)\n"
         "t.yaml:11:42: sinks[0].entities.A.fields.F.G.H: must be the API name of a field, like Industry or "
         "BillingAddress.City, not 'F.G.H'\n"
         "t.yaml:11:58: sinks[0].entities.A.fields.F.colum: unknown key (did you mean 'column'?)\n"},
        {MIRROR "    entities: { A: { fields: { F: { map: { x: [y], z: } } } } }\n",
         "t.yaml:11:47: sinks[0].entities.A.fields.F.map.x: must be one value, not a list\n"
         "t.yaml:11:55: sinks[0].entities.A.fields.F.map.z: has no value\n"},
        {MIRROR "    entities: { A: { fields: { F: { column: XMin } } } }\n",
         "t.yaml:11:45: sinks[0].entities.A.fields.F.column: must be 1 to 58 bytes, and none of _version, _seq, "
         "_state, _incomplete, _deleted, _deleted_at, _archived_at, _payload_hash, _fields, which are filled by "
         "tidemark, nor of ctid, cmin, cmax, tableoid, xmin, xmax, which are PostgreSQL's own, not 'XMin'\n"},
        {MIRROR
         "    entities: { A: { table: _Tidemark_x, key: _Version, constants: { _seq: 1 } }, B: { table: "
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa } }\n",
         "t.yaml:11:29: sinks[0].entities.A.table: must be 1 to 52 bytes, not beginning with '_tidemark_' or "
         "'sqlite_', not '_Tidemark_x'\n"
         "t.yaml:11:47: sinks[0].entities.A.key: must be 1 to 58 bytes, and none of _version, _seq, _state, "
         "_incomplete, _deleted, _deleted_at, _archived_at, _payload_hash, _fields, which are filled by "
         "tidemark, nor of ctid, cmin, cmax, tableoid, xmin, xmax, which are PostgreSQL's own, not '_Version'\n"
         "t.yaml:11:70: sinks[0].entities.A.constants._seq: must be 1 to 58 bytes, and none of _version, "
         "_seq, "
         "_state, _incomplete, _deleted, _deleted_at, _archived_at, _payload_hash, _fields, which are filled "
         "by tidemark, nor of ctid, cmin, cmax, tableoid, xmin, xmax, which are PostgreSQL's own, not '_seq'\n"
         "t.yaml:11:95: sinks[0].entities.B.table: must be 1 to 52 bytes, not beginning with '_tidemark_' or "
         "'sqlite_', not 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'\n"},
    };
    assert_all(cases, ARRAY_LEN(cases));
}

static void nothing_is_shared(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {MIRROR "    entities: { A: { fields: { F: { column: x }, G: { column: X } } } }\n",
         "t.yaml:11:63: sinks[0].entities.A.fields.G.column: the column 'X' is that of F, too\n"},
        {MIRROR "    entities: { A: { fields: { FirstName: , G: { column: first_name } } } }\n",
         "t.yaml:11:58: sinks[0].entities.A.fields.G.column: the column 'first_name' is that of FirstName, "
         "too\n"},
        {MIRROR "    entities: { A: { key: k, fields: { F: { column: k } }, constants: { K: 1 } } }\n",
         "t.yaml:11:53: sinks[0].entities.A.fields.F.column: the column 'k' is that of the key, too\n"
         "t.yaml:11:71: sinks[0].entities.A.constants: the column 'K' is that of F, too\n"},
        {MIRROR "    entities: { A: { fields: { F: { column: id } } } }\n",
         "t.yaml:11:45: sinks[0].entities.A.fields.F.column: the column 'id' is that of the key, too\n"},
        {MIRROR "    entities: { A: { table: b }, B: {} }\n",
         "t.yaml:11:29: sinks[0].entities.A.table: the table 'b' is that of B, too\n"},
        {MIRROR "    entities: { A: { on_delete: archive }, B: { table: a_history } }\n",
         "t.yaml:11:56: sinks[0].entities.B.table: the table 'a_history' is that of the history of another, "
         "too\n"},
        {TOP "sinks:\n  - { name: a, sqlite: { path: /tmp/m.db }, on_delete: soft }\n"
             "  - { name: b, sqlite: { path: /tmp/./m.db }, on_delete: soft }\n"
             "  - { name: c, file: { path: /tmp/m.db } }\n",
         "t.yaml:9:32: sinks[1].sqlite.path: is the file of sinks[0] too; every sink needs its own\n"
         "t.yaml:10:30: sinks[2].file.path: is the file of sinks[0] too; every sink needs its own\n"},
        {TOP "sinks:\n  - { name: a, postgres: { dsn: host=x }, on_delete: soft }\n"
             "  - { name: b, postgres: { dsn: host=x }, on_delete: soft }\n"
             "  - { name: c, postgres: , on_delete: soft }\n  - { name: d, postgres: , on_delete: soft }\n",
         "t.yaml:9:26: sinks[1].postgres: sinks[0] writes to this database already; every sink needs its "
         "own\n"
         "t.yaml:11:26: sinks[3].postgres: sinks[2] writes to this database already; every sink needs its "
         "own\n"},
    };
    assert_all(cases, ARRAY_LEN(cases));
}

static void default_names_are_those_of_the_documentation(void **state)
{
    (void)state;
    static const struct {
        const char *name, *column;
    } cases[] = {
        {"LastModifiedDate", "last_modified_date"},
        {"Amount_Owed__c", "amount_owed__c"},
        {"BillingAddress.City", "billing_address_city"},
        {"Invoice__c", "invoice__c"},
        {"Id", "id"},
        {"SICDesc", "sic_desc"},
        {"SLAExpirationDate__c", "sla_expiration_date__c"},
        {"OwnerID", "owner_id"},
        {"A1B2", "a1_b2"},
        {"URL", "url"},
        {"ns__Field__c", "ns__field__c"},
        {"", ""},
    };
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_clear(&b);
        names_add_default(span_of_str(cases[i].name), NAMES_MAX_COLUMN, &b);
        assert_string_equal(b.data ? (char *)b.data : "", cases[i].column);
    }
    /* Two long names that begin alike stay two, short enough for every target. */
    static const char one[] = "AVeryLongPackagePrefix__WithAFieldNameThatGoesOnAndOnUntilTheEnd1__c",
                      two[] = "AVeryLongPackagePrefix__WithAFieldNameThatGoesOnAndOnUntilTheEnd2__c";
    struct buf c = BUF_INIT;
    buf_clear(&b);
    names_add_default(span_of_str(one), NAMES_MAX_COLUMN, &b);
    names_add_default(span_of_str(two), NAMES_MAX_COLUMN, &c);
    assert_int_equal(b.len, NAMES_MAX_COLUMN);
    assert_int_equal(c.len, NAMES_MAX_COLUMN);
    assert_string_not_equal((char *)b.data, (char *)c.data);
    assert_memory_equal(b.data, "a_very_long_package_prefix__with_", 33);
    buf_release(&b);
    buf_release(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_arrives_where_it_belongs),
        cmocka_unit_test(entities_inherit_what_they_do_not_say),
        cmocka_unit_test(no_key_of_a_mirror_is_forgotten_here),
        cmocka_unit_test(the_printed_configuration_loads_to_the_same_one),
        cmocka_unit_test(deletes_have_no_default),
        cmocka_unit_test(keys_without_effect_are_refused),
        cmocka_unit_test(two_orgs_in_one_mirror_are_warned_of),
        cmocka_unit_test(names_of_the_users_own_are_checked),
        cmocka_unit_test(nothing_is_shared),
        cmocka_unit_test(default_names_are_those_of_the_documentation),
    };
    return cmocka_run_group_tests_name("config_mirror", tests, NULL, NULL);
}
