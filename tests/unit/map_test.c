/*
 * From schemas to tables: which column each field fills, by default, as configured, and as schemas change.
 */
#include "delivery/map.h"

#include "avro/decoder.h"
#include "base/alloc.h"
#include "base/file.h"
#include "config/names.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* --- schemas and configurations ------------------------------------------------------------------------ */

#define HEADER                                                                                               \
    "{\"name\":\"ChangeEventHeader\",\"type\":{\"type\":\"record\",\"name\":\"ChangeEventHeader\",\"fields\":["  \
    "{\"name\":\"entityName\",\"type\":\"string\"},{\"name\":\"recordIds\",\"type\":{\"type\":\"array\",\"items\":\"string\"}}," \
    "{\"name\":\"changeType\",\"type\":{\"type\":\"enum\",\"name\":\"ChangeType\",\"symbols\":[\"CREATE\",\"UPDATE\"]}}," \
    "{\"name\":\"changeOrigin\",\"type\":\"string\"},{\"name\":\"transactionKey\",\"type\":\"string\"},"         \
    "{\"name\":\"sequenceNumber\",\"type\":\"int\"},{\"name\":\"commitTimestamp\",\"type\":\"long\"},"           \
    "{\"name\":\"commitNumber\",\"type\":\"long\"},{\"name\":\"commitUser\",\"type\":\"string\"},"               \
    "{\"name\":\"nulledFields\",\"type\":{\"type\":\"array\",\"items\":\"string\"}},"                            \
    "{\"name\":\"diffFields\",\"type\":{\"type\":\"array\",\"items\":\"string\"}},"                              \
    "{\"name\":\"changedFields\",\"type\":{\"type\":\"array\",\"items\":\"string\"}}]}}"
#define FIELD(name, type, doc) ",{\"name\":\"" name "\",\"type\":[\"null\"," type "],\"doc\":\"" doc "\"}"
#define TEXT_FIELD(name)       FIELD(name, "\"string\"", "Data:Text")
#define PARTS(record, parts)   "{\"type\":\"record\",\"name\":\"" record "\",\"fields\":[" parts "]}"
#define PART(name, type)       "{\"name\":\"" name "\",\"type\":[\"null\"," type "]}"
#define CHANGE(fields)                                                                                       \
    "{\"type\":\"record\",\"name\":\"AccountChangeEvent\",\"fields\":[" HEADER fields "]}"

enum { MOST = 32 };
static struct avro_plan *plans[MOST];
static size_t n_plans;

/* A schema that lives until the test ends. */
static const struct event_schema *schema(const char *json)
{
    struct err e = ERR_INIT;
    assert_true(n_plans < MOST);
    if (avro_compile(span_of_str(json), "", &plans[n_plans], &e) != 0)
        fail_msg("%s", e.text);
    return avro_plan_schema(plans[n_plans++]);
}

static struct config *config;
static struct map *map;
static struct buf remarks = BUF_INIT;

/* A map for a sink with these keys; lines of YAML, indented by four. */
static struct map *map_for(const char *keys)
{
    struct buf text = BUF_INIT, problems = BUF_INIT;
    buf_addf(&text,
             "orgs:\n  - { name: o, login_url: https://x.example, auth: { client_credentials: { client_id: i, "
             "client_secret: s } } }\nsubscriptions: [{ name: s, org: o, topic: /data/ChangeEvents }]\n"
             "sinks:\n  - name: m\n    sqlite: { path: /tmp/tidemark-map-test/m.db }\n%s",
             keys);
    map_free(map);
    config_free(config);
    config = config_load_text(buf_span(&text), "t", CONFIG_OFFLINE, &problems);
    if (!config)
        fail_msg("%s", (char *)problems.data);
    buf_release(&text);
    buf_release(&problems);
    buf_clear(&remarks);
    return map = map_new(&config->sinks[0]);
}

#define SOFT "    on_delete: soft\n"

static int tear_down(void **state)
{
    (void)state;
    map_free(map);
    config_free(config);
    map = NULL;
    config = NULL;
    for (size_t i = 0; i < n_plans; i++)
        avro_plan_free(plans[i]);
    n_plans = 0;
    buf_release(&remarks);
    return 0;
}

static const struct map_entity *entity_of(const struct event_schema *s, const char *name)
{
    const struct map_entity *entity;
    struct err e = ERR_INIT;
    if (map_entity(map, s, span_of_str(name), &entity, &remarks, &e) != 0)
        fail_msg("%s", e.text);
    return entity;
}

static void assert_fails(const struct event_schema *s, const char *name, const char *why)
{
    for (int i = 0; i < 2; i++) { /* and the same again */
        const struct map_entity *entity;
        struct err e = ERR_INIT;
        assert_int_equal(map_entity(map, s, span_of_str(name), &entity, &remarks, &e), -1);
        assert_int_equal(e.class, ERR_CONFIG);
        assert_string_equal(e.text, why);
    }
}

/* "field>column:type field.part>column:json" in the order of the slots; '!' insert_only, '{}' a shared object. */
static void assert_slots(const struct map_entity *entity, const char *expected)
{
    struct buf b = BUF_INIT;
    for (uint32_t i = 0; i < entity->n_slots; i++) {
        const struct map_slot *slot = &entity->slots[i];
        const struct mirror_table *t = entity->table;
        assert_true(slot->column < t->n_columns && slot->source < t->n_sources);
        const struct mirror_column *column = &t->columns[slot->column];
        assert_int_equal(t->sources[slot->source].column, slot->column);
        assert_true(slot->json == column->merged && slot->json == (slot->member != NULL));
        buf_addf(&b, "%s%s>%s:%s%s%s%s", i ? " " : "", t->sources[slot->source].field, column->name,
                 mirror_type_name(column->type), column->insert_only ? "!" : "", column->merged ? "{}" : "",
                 slot->json ? slot->member : "");
        if (i) {
            const struct map_slot *before = slot - 1;
            assert_true(before->index < slot->index || (before->index == slot->index && before->child < slot->child));
        }
    }
    assert_string_equal(b.data ? (char *)b.data : "", expected);
    buf_release(&b);
}

static void assert_remarks(const char *expected)
{
    assert_string_equal(remarks.data ? (char *)remarks.data : "", expected);
    buf_clear(&remarks);
}

static const char account[] = CHANGE(
    ",{\"name\":\"Name\",\"type\":[\"null\",\"string\"," PARTS("PersonName", PART("FirstName", "\"string\"") "," PART("LastName", "\"string\"")) "]}"
    FIELD("BillingAddress", PARTS("Address", PART("Street", "\"string\"") "," PART("City", "\"string\"") "," PART("Latitude", "\"double\"")), "Data:Address")
    FIELD("AnnualRevenue", "\"double\"", "Data:Currency") FIELD("NumberOfEmployees", "\"int\"", "Data:Integer")
    FIELD("IsGood__c", "\"boolean\"", "Data:Boolean:00N1") FIELD("CreatedDate", "\"long\"", "CreatedDate:DateTime")
    FIELD("SLAExpirationDate__c", "\"long\"", "Data:DateOnly:00N2") FIELD("Opens__c", "\"long\"", "Data:TimeOnly:00N3")
    FIELD("Big__c", "\"long\"", "Data:Number") FIELD("Days__c", "{\"type\":\"array\",\"items\":\"string\"}", "Data:MultiEnum:00N4"));

/* --- the default mapping ------------------------------------------------------------------------------- */

static void without_configuration_every_field_has_a_column(void **state)
{
    (void)state;
    map_for(SOFT);
    const struct map_entity *e = entity_of(schema(account), "Account");
    assert_string_equal(e->table->name, "account");
    assert_string_equal(e->table->key, "id");
    assert_false(e->table->append_only);
    assert_int_equal(e->table->on_delete, MIRROR_SOFT);
    assert_int_equal(e->table->number, 0);
    assert_null(e->table->last_modified);
    assert_null(e->config);
    assert_int_equal(e->on_delete, DELETE_SOFT);
    assert_int_equal(e->conflict, CONFLICT_NEWEST_WINS);
    assert_slots(e, "Name>name:text Name.FirstName>name_first_name:text Name.LastName>name_last_name:text "
                    "BillingAddress.Street>billing_address_street:text BillingAddress.City>billing_address_city:text "
                    "BillingAddress.Latitude>billing_address_latitude:double AnnualRevenue>annual_revenue:double "
                    "NumberOfEmployees>number_of_employees:bigint IsGood__c>is_good__c:boolean "
                    "CreatedDate>created_date:datetime SLAExpirationDate__c>sla_expiration_date__c:date "
                    "Opens__c>opens__c:time Big__c>big__c:bigint Days__c>days__c:json");
    assert_string_equal(e->table->sources[8].field_id, "00N1");
    assert_string_equal(e->table->sources[0].field_id, "");
    assert_int_equal(e->table->shape, 1);
    assert_ptr_equal(entity_of(e->schema, "Account"), e); /* made once */
    assert_int_equal(e->table->shape, 1);
    assert_remarks("");
}

static void platform_events_become_rows_that_are_only_appended(void **state)
{
    (void)state;
    map_for(SOFT);
    const struct map_entity *e = entity_of(
        schema("{\"type\":\"record\",\"name\":\"Order_Event__e\",\"fields\":[{\"name\":\"CreatedDate\",\"type\":\"long\","
               "\"doc\":\"CreatedDate:DateTime\"}" TEXT_FIELD("Order_Number__c") "]}"),
        "");
    assert_string_equal(e->table->name, "order_event__e");
    assert_string_equal(e->table->key, "event_id");
    assert_true(e->table->append_only);
    assert_slots(e, "CreatedDate>created_date:datetime Order_Number__c>order_number__c:text");
}

static void names_that_collide_are_told_both(void **state)
{
    (void)state;
    map_for(SOFT);
    assert_fails(schema(CHANGE(TEXT_FIELD("First_Name") TEXT_FIELD("FirstName"))), "Account",
                 "Account: FirstName and First_Name both need the column \"first_name\": give one of them another with "
                 "entities.Account.fields.FirstName.column");
    assert_fails(schema(CHANGE(TEXT_FIELD("Id"))), "Case",
                 "Case: Id and the key both need the column \"id\": give one of them another with "
                 "entities.Case.fields.Id.column");
    assert_fails(schema(CHANGE(TEXT_FIELD("_seq"))), "Lead",
                 "Lead: _seq and tidemark both need the column \"_seq\": give one of them another with "
                 "entities.Lead.fields._seq.column");
    const struct event_schema *s = schema(CHANGE(TEXT_FIELD("X")));
    entity_of(s, "A_b");
    assert_fails(s, "aB", "aB and A_b both need the table \"a_b\": give one of them another with entities.aB.table");
}

static void a_table_is_not_the_history_of_another(void **state)
{
    (void)state;
    map_for("    on_delete: archive\n");
    const struct event_schema *s = schema(CHANGE(TEXT_FIELD("X")));
    entity_of(s, "Order_History");
    assert_fails(s, "Order", "Order and Order_History both need the table \"order\": give one of them another with "
                             "entities.Order.table");
}

/* --- configured ----------------------------------------------------------------------------------------- */

static void what_is_configured_comes_first(void **state)
{
    (void)state;
    map_for(SOFT "    entities:\n"
                 "      Account:\n"
                 "        table: accounts\n"
                 "        key: sf_id\n"
                 "        last_modified_column: touched\n"
                 "        conflict: target_wins\n"
                 "        on_delete: ignore\n"
                 "        constants: { source: sf, tier: gold }\n"
                 "        fields:\n"
                 "          Name.FirstName: false\n"
                 "          BillingAddress: { column: address, owner: target }\n"
                 "          BillingAddress.City: { column: city }\n"
                 "          AnnualRevenue: { type: integer }\n"
                 "          NumberOfEmployees: { map: { \"1\": one } }\n"
                 "          IsGood__c: { owner: target }\n"
                 "          CreatedDate: { column: touched, type: date }\n"
                 "          Opens__c: false\n"
                 "          Days__c: { type: text }\n");
    const struct map_entity *e = entity_of(schema(account), "Account");
    assert_string_equal(e->table->name, "accounts");
    assert_string_equal(e->table->key, "sf_id");
    assert_string_equal(e->table->last_modified, "touched");
    assert_int_equal(e->conflict, CONFLICT_TARGET_WINS);
    assert_int_equal(e->on_delete, DELETE_IGNORE);
    assert_string_equal(e->config->entity, "Account");
    assert_slots(e, "Name>name:text Name.LastName>name_last_name:text BillingAddress.Street>address:json!{}Street "
                    "BillingAddress.City>city:text BillingAddress.Latitude>address:json!{}Latitude "
                    "AnnualRevenue>annual_revenue:bigint NumberOfEmployees>number_of_employees:text "
                    "IsGood__c>is_good__c:boolean! CreatedDate>touched:date "
                    "SLAExpirationDate__c>sla_expiration_date__c:date Big__c>big__c:bigint Days__c>days__c:text");
    assert_int_equal(e->n_constants, 2);
    assert_string_equal(e->table->columns[e->constant_columns[1]].name, "tier");
    assert_true(e->table->columns[e->constant_columns[1]].insert_only);
    assert_true(span_equal_str(e->constant_values[1].as.text, "gold"));
    const struct map_entity *other;
    struct err why = ERR_INIT;
    assert_int_equal(map_entity(map, e->schema, span_of_str("Contact"), &other, NULL, &why), 0);
    assert_null(other); /* not listed */
}

static void compounds_and_new_fields_have_other_forms(void **state)
{
    (void)state;
    const struct event_schema *s = schema(account);
    map_for(SOFT "    compounds: json\n");
    const struct map_entity *e = entity_of(s, "Account");
    assert_string_equal(e->table->columns[e->slots[3].column].name, "billing_address");
    assert_string_equal(e->slots[4].member, "City");
    assert_int_equal(e->slots[3].column, e->slots[5].column);
    assert_string_equal(e->table->columns[e->slots[1].column].name, "name_first_name"); /* Name is text, too */

    map_for(SOFT "    new_fields: json\n    entities: { Account: { fields: { AnnualRevenue: , BillingAddress: { column: a } } } }\n");
    assert_slots(entity_of(s, "Account"),
                 "Name>_fields:json{}Name Name.FirstName>_fields:json{}Name.FirstName "
                 "Name.LastName>_fields:json{}Name.LastName BillingAddress.Street>a:json{}Street "
                 "BillingAddress.City>a:json{}City BillingAddress.Latitude>a:json{}Latitude "
                 "AnnualRevenue>annual_revenue:double NumberOfEmployees>_fields:json{}NumberOfEmployees "
                 "IsGood__c>_fields:json{}IsGood__c CreatedDate>_fields:json{}CreatedDate "
                 "SLAExpirationDate__c>_fields:json{}SLAExpirationDate__c Opens__c>_fields:json{}Opens__c "
                 "Big__c>_fields:json{}Big__c Days__c>_fields:json{}Days__c");

    map_for(SOFT "    new_fields: ignore\n    entities: { Account: { fields: { AnnualRevenue: , Name.LastName: } } }\n");
    assert_slots(entity_of(s, "Account"), "Name.LastName>name_last_name:text AnnualRevenue>annual_revenue:double");

    map_for(SOFT "    entities: { Account: false }\n");
    const struct map_entity *out;
    struct err why = ERR_INIT;
    assert_int_equal(map_entity(map, s, span_of_str("Account"), &out, NULL, &why), 0);
    assert_null(out);
    assert_non_null(entity_of(s, "Contact"));
}

static void values_go_the_way_of_their_slot(void **state)
{
    (void)state;
    map_for(SOFT "    entities: { Account: { fields: { AnnualRevenue: { type: integer }, BillingAddress: } } }\n");
    const struct map_entity *e = entity_of(schema(account), "Account");
    struct arena a = ARENA_INIT;
    struct mirror_value v;
    struct err why = ERR_INIT;
    const char *flagged;
    struct cell half = {.type = CELL_DOUBLE, .as.number = 0.5}, two = {.type = CELL_DOUBLE, .as.number = 2},
                city = {.type = CELL_STRING, .as.bytes = span_of_str("Kiel")};
    assert_int_equal(map_value(e, &e->slots[6], &half, &a, &v, &flagged, &why), MAP_PARK);
    assert_string_equal(why.text, "Account.AnnualRevenue: type integer: 0.5 is not a whole number of 64 bits");
    assert_int_equal(map_value(e, &e->slots[6], &two, &a, &v, &flagged, &why), MAP_VALUE);
    assert_int_equal(v.as.integer, 2);
    assert_int_equal(map_value(e, &e->slots[4], &city, &a, &v, &flagged, &why), MAP_VALUE);
    assert_true(span_equal_str(v.as.text, "\"Kiel\""));
    arena_release(&a);
}

/* --- schemas that change --------------------------------------------------------------------------------- */

static void a_new_field_appends_a_column(void **state)
{
    (void)state;
    map_for(SOFT);
    const struct map_entity *one = entity_of(schema(CHANGE(TEXT_FIELD("A") TEXT_FIELD("C"))), "Account");
    const struct map_entity *two = entity_of(schema(CHANGE(TEXT_FIELD("A") TEXT_FIELD("B") TEXT_FIELD("C"))), "Account");
    assert_ptr_equal(one->table, two->table);
    assert_int_equal(one->table->shape, 2);
    assert_int_equal(two->table->n_columns, 3);
    assert_int_equal(two->slots[1].column, 2); /* appended, though B stands in the middle */
    assert_int_equal(two->slots[2].column, 1);
    assert_slots(one, "A>a:text C>c:text");
    assert_slots(two, "A>a:text B>b:text C>c:text");
    /* The same fields in another schema (an enum has a symbol more): nothing new. */
    entity_of(schema(CHANGE(TEXT_FIELD("C") TEXT_FIELD("A"))), "Account");
    assert_int_equal(one->table->shape, 2);
    assert_remarks("");
}

static void a_type_that_changed_gets_a_column_of_its_own(void **state)
{
    (void)state;
    map_for(SOFT);
    const struct event_schema *text = schema(CHANGE(FIELD("Size__c", "\"string\"", "Data:Text:00N1"))),
                              *number = schema(CHANGE(FIELD("Size__c", "\"double\"", "Data:Double:00N1"))),
                              *whole = schema(CHANGE(FIELD("Size__c", "\"int\"", "Data:Integer:00N1")));
    assert_slots(entity_of(text, "Account"), "Size__c>size__c:text");
    assert_slots(entity_of(number, "Account"), "Size__c>size__c_2:double");
    assert_remarks("Account.Size__c changed its type from text to double and goes to column size__c_2 from now on; "
                   "size__c stays as it is\n");
    assert_slots(entity_of(whole, "Account"), "Size__c>size__c_2:double"); /* a double holds it */
    assert_slots(entity_of(text, "Account"), "Size__c>size__c:text");      /* replayed */
    assert_remarks("");
}

static void a_field_made_anew_gets_a_column_of_its_own(void **state)
{
    (void)state;
    map_for(SOFT);
    const struct event_schema *old = schema(CHANGE(FIELD("Size__c", "\"string\"", "Data:Text:00N1"))),
                              *new = schema(CHANGE(FIELD("Size__c", "\"string\"", "Data:Text:00N2"))),
                              *mute = schema(CHANGE(FIELD("Size__c", "\"string\"", "")));
    assert_slots(entity_of(old, "Account"), "Size__c>size__c:text");
    assert_slots(entity_of(new, "Account"), "Size__c>size__c_2:text");
    assert_remarks("Account.Size__c was deleted and made anew (00N2) and goes to column size__c_2 from now on; size__c "
                   "stays as it is\n");
    assert_slots(entity_of(mute, "Account"), "Size__c>size__c_2:text"); /* a schema that does not say: the newest */
    assert_remarks("");
}

static void columns_are_remembered_across_restarts(void **state)
{
    (void)state;
    const struct event_schema *text = schema(CHANGE(FIELD("Size__c", "\"string\"", "Data:Text:00N1"))),
                              *number = schema(CHANGE(FIELD("Size__c", "\"double\"", "Data:Double:00N1") TEXT_FIELD("New")));
#define KNOWN(t, c, f, id, no, ty) {span_of_str(t), span_of_str(c), span_of_str(f), span_of_str(id), no, ty}
    const struct mirror_field known[] = {KNOWN("account", "size__c", "Size__c", "00N1", 1, MIRROR_TEXT),
                                         KNOWN("account", "size__c_2", "Size__c", "00N1", 2, MIRROR_DOUBLE),
                                         KNOWN("account", "new", "Gone", "00N9", 3, MIRROR_TEXT),
                                         KNOWN("case", "new", "New", "", 1, MIRROR_BIGINT)};
    map_for(SOFT);
    map_known(map, known, ARRAY_LEN(known));
    assert_slots(entity_of(number, "Account"), "Size__c>size__c_2:double New>new_2:text");
    assert_remarks("Account.New goes to column new_2: new was made from Gone\n");
    assert_slots(entity_of(text, "Account"), "Size__c>size__c:text");
    assert_remarks("");

    /* A column that the user names is taken, whatever it was made from, as long as it can hold the values. */
    map_for(SOFT "    entities: { Account: { fields: { New: { column: size__c } } } }\n");
    map_known(map, known, ARRAY_LEN(known));
    assert_slots(entity_of(number, "Account"), "Size__c>size__c_2:double New>size__c:text");

    /* Members of a JSON column find it again. */
    const struct mirror_field members[] = {KNOWN("account", "_fields", "New", "", 1, MIRROR_JSON)};
    map_for(SOFT "    new_fields: json\n");
    map_known(map, members, 1);
    const struct map_entity *e = entity_of(number, "Account");
    assert_slots(e, "Size__c>_fields:json{}Size__c New>_fields:json{}New");
    assert_int_equal(e->table->n_columns, 1);
}

static void the_same_schemas_give_the_same_slots(void **state)
{
    (void)state;
    const struct event_schema *s[] = {schema(account), schema(CHANGE(TEXT_FIELD("A"))),
                                      schema(CHANGE(FIELD("A", "\"long\"", "")))};
    struct buf first = BUF_INIT, again = BUF_INIT;
    for (int round = 0; round < 2; round++) {
        map_for(SOFT);
        for (size_t i = 0; i < ARRAY_LEN(s); i++) {
            const struct map_entity *e = entity_of(s[i], "Account");
            for (uint32_t k = 0; k < e->n_slots; k++)
                buf_addf(round ? &again : &first, "%u.%d>%u>%u ", e->slots[k].index, e->slots[k].child,
                         e->slots[k].source, e->slots[k].column);
        }
    }
    assert_string_equal((char *)first.data, (char *)again.data);
    buf_release(&first);
    buf_release(&again);
}

/* --- captured schemas ------------------------------------------------------------------------------------- */

static void captured_schemas_map_without_complaint(void **state)
{
    (void)state;
    const char *folder = getenv("TIDEMARK_FIXTURES");
    if (!folder || !*folder)
        skip();
    map_for(SOFT);
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int n = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        struct buf text = BUF_INIT;
        struct err e = ERR_INIT;
        size_t len = strlen(entry->d_name);
        if (len < 5 || strcmp(entry->d_name + len - 5, ".avsc") != 0)
            continue;
        char *path = xasprintf("%s/%s", folder, entry->d_name);
        assert_int_equal(file_read(path, AVRO_MAX_SCHEMA_BYTES, &text, &e), 0);
        /* Each under a name of its own: the captures come from several orgs. */
        const struct map_entity *entity = entity_of(schema((char *)text.data), entry->d_name);
        assert_non_null(entity);
        const struct mirror_table *t = entity->table;
        assert_true(entity->n_slots > 0 && t->n_sources == entity->n_slots);
        for (uint32_t i = 0; i < t->n_columns; i++) {
            assert_true(strlen(t->columns[i].name) <= NAMES_MAX_COLUMN);
            for (uint32_t k = 0; k < i; k++)
                assert_false(names_equal(t->columns[i].name, t->columns[k].name));
        }
        n++;
        free(path);
        buf_release(&text);
    }
    closedir(dir);
    assert_true(n >= 10);
    assert_remarks("");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(without_configuration_every_field_has_a_column, tear_down),
        cmocka_unit_test_teardown(platform_events_become_rows_that_are_only_appended, tear_down),
        cmocka_unit_test_teardown(names_that_collide_are_told_both, tear_down),
        cmocka_unit_test_teardown(a_table_is_not_the_history_of_another, tear_down),
        cmocka_unit_test_teardown(what_is_configured_comes_first, tear_down),
        cmocka_unit_test_teardown(compounds_and_new_fields_have_other_forms, tear_down),
        cmocka_unit_test_teardown(values_go_the_way_of_their_slot, tear_down),
        cmocka_unit_test_teardown(a_new_field_appends_a_column, tear_down),
        cmocka_unit_test_teardown(a_type_that_changed_gets_a_column_of_its_own, tear_down),
        cmocka_unit_test_teardown(a_field_made_anew_gets_a_column_of_its_own, tear_down),
        cmocka_unit_test_teardown(columns_are_remembered_across_restarts, tear_down),
        cmocka_unit_test_teardown(the_same_schemas_give_the_same_slots, tear_down),
        cmocka_unit_test_teardown(captured_schemas_map_without_complaint, tear_down),
    };
    return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
