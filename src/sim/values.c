#include "sim/values.h"

#include "base/alloc.h"
#include "base/json.h"

#include <stdio.h>

static const char *const company_first[] = {
    "Acme",      "Müller & Söhne", "Blue Harbor", "Åkerlund",      "Société Générale de Bois",
    "Kowalski",  "東京精密",       "Nova",        "Ōsaka Trading", "Red Pine",
    "São Bento", "Green Valley",   "Ångström",    "Dvořák",        "Orion",
    "Peñalosa",  "Delta",          "Northwind",   "Ísland",        "Żubrówka"};
static const char *const company_last[] = {"Inc.", "GmbH", "AG",         "Ltd.",       "S.A.",      "AB",
                                           "K.K.", "LLC",  "Sp. z o.o.", "& Partners", "Logistics", "Foods"};
static const char *const first_names[] = {"Ana",   "Björn",   "Chloé",  "Dmitri", "Élodie", "Fatima",
                                          "Grace", "Hiroshi", "Ingrid", "José",   "Kim",    "Łukasz",
                                          "Maria", "Noah",    "Olga",   "Priya",  "Søren",  "Zoë"};
static const char *const last_names[] = {"Andersson", "Brown",     "Çelik",   "Dubois", "Eriksen",  "Fischer",
                                         "García",    "Hernández", "Ivanov",  "Jensen", "Kowalska", "Lefèvre",
                                         "Müller",    "Nguyễn",    "O'Neill", "Øster",  "Sørensen", "山田"};
static const char *const streets[] = {"Main Street", "Bahnhofstraße", "Rue de l'Église", "Calle Mayor",
                                      "Storgatan",   "Market Square", "Harbour Road",    "桜通り"};
static const struct {
    const char *city, *state, *state_code, *postal, *country, *country_code;
} places[] = {
    {"San Francisco", "California", "CA", "94105", "United States", "US"},
    {"Zürich", NULL, NULL, "8001", "Switzerland", "CH"},
    {"München", NULL, NULL, "80331", "Germany", "DE"},
    {"Montréal", "Quebec", "QC", "H2Y 1C6", "Canada", "CA"},
    {"São Paulo", "São Paulo", "SP", "01310-100", "Brazil", "BR"},
    {"Malmö", NULL, NULL, "211 22", "Sweden", "SE"},
    {"Austin", "Texas", "TX", "73301", "United States", "US"},
    {"Kraków", NULL, NULL, "30-001", "Poland", "PL"},
    {"東京", NULL, NULL, "100-0001", "Japan", "JP"},
};
static const char *const sentences[] = {"Called back, will decide next week.",
                                        "Asked for \"volume pricing\" again.",
                                        "Besuch geplant für nächsten Dienstag.",
                                        "Très intéressé par l'offre.",
                                        "Contract sent\tby courier.",
                                        "Waiting for legal \\ finance.",
                                        "Renewal at risk 😟",
                                        "Happy customer 🎉 – reference call.",
                                        "Προσφορά εστάλη.",
                                        "Needs <b>invoice</b> & delivery note."};
static const char *const salutations[] = {"Mr.", "Ms.", "Dr.", "Prof."};

#define DRAW(rng, list) ((list)[rng_below((rng), ARRAY_LEN(list))])

void val_clear(struct field_val *v)
{
    if (v->tag == TAG_STRING)
        free(v->as.text);
    memset(v, 0, sizeof *v);
}

void val_set_text(struct field_val *v, const char *text)
{
    char *copy = xstrdup(text);
    val_clear(v);
    v->tag = TAG_STRING;
    v->as.text = copy;
}

void val_set_int(struct field_val *v, int64_t integer)
{
    val_clear(v);
    v->tag = TAG_INT;
    v->as.integer = integer;
}

static void set_double(struct field_val *v, double number)
{
    val_clear(v);
    v->tag = TAG_DOUBLE;
    v->as.number = number;
}

static void set_boolean(struct field_val *v, bool boolean)
{
    val_clear(v);
    v->tag = TAG_BOOLEAN;
    v->as.boolean = boolean;
}

void val_copy(struct field_val *to, const struct field_val *from)
{
    if (from->tag == TAG_STRING) {
        val_set_text(to, from->as.text);
        return;
    }
    val_clear(to);
    *to = *from;
}

bool val_equal(const struct field_val *a, const struct field_val *b)
{
    if (a->tag != b->tag)
        return false;
    switch (a->tag) {
    case TAG_STRING:
        return strcmp(a->as.text, b->as.text) == 0;
    case TAG_DOUBLE:
        return !(a->as.number < b->as.number) && !(a->as.number > b->as.number);
    case TAG_INT:
        return a->as.integer == b->as.integer;
    case TAG_BOOLEAN:
        return a->as.boolean == b->as.boolean;
    default:
        return true;
    }
}

void val_json(struct buf *out, const struct field_val *v)
{
    switch (v->tag) {
    case TAG_STRING:
        json_add_string(out, span_of_str(v->as.text));
        break;
    case TAG_DOUBLE:
        json_add_double(out, v->as.number);
        break;
    case TAG_INT:
        json_add_int(out, v->as.integer);
        break;
    case TAG_BOOLEAN:
        buf_add_str(out, v->as.boolean ? "true" : "false");
        break;
    default:
        buf_add_str(out, "null");
    }
}

void draw_company(struct rng *rng, char out[96])
{
    const char *first = DRAW(rng, company_first), *last = DRAW(rng, company_last);
    snprintf(out, 96, "%s %s %u", first, last, (unsigned)rng_below(rng, 1000));
}

/* The nth of "a|b|c". */
static size_t choice(const char *choices, uint64_t n, char *out, size_t size)
{
    while (n-- && strchr(choices, '|'))
        choices = strchr(choices, '|') + 1;
    size_t len = strcspn(choices, "|");
    if (len >= size)
        len = size - 1;
    memcpy(out, choices, len);
    out[len] = 0;
    return len;
}

static uint64_t count_choices(const char *choices)
{
    uint64_t n = 1;
    for (; *choices; choices++)
        n += *choices == '|';
    return n;
}

static void draw_multipick(struct rng *rng, const char *choices, char *out, size_t size)
{
    size_t len = 0;
    uint64_t n = count_choices(choices), chosen = 1 + rng_below(rng, (1ull << n) - 1);
    for (uint64_t i = 0; i < n; i++) {
        if (!(chosen >> i & 1))
            continue;
        if (len && len + 1 < size)
            out[len++] = ';';
        len += choice(choices, i, out + len, size - len);
    }
}

static void draw_text(struct rng *rng, struct field_val *v)
{
    struct buf text = BUF_INIT;
    uint64_t lines = 1 + rng_below(rng, 4);
    for (uint64_t i = 0; i < lines; i++)
        buf_addf(&text, "%s%s", i ? "\r\n" : "", DRAW(rng, sentences));
    val_clear(v);
    v->tag = TAG_STRING;
    v->as.text = buf_detach(&text);
}

void val_draw(struct field_val *v, struct rng *rng, const struct entity_field *field, int64_t now_ms)
{
    const int64_t day = 86400000;
    char text[160] = "";
    switch (field->value) {
    case VALUE_MONEY:
        set_double(v, (double)rng_below(rng, 100000000) / 100.0);
        return;
    case VALUE_PERCENT:
        set_double(v, (double)rng_below(rng, 21) * 5.0);
        return;
    case VALUE_COUNT:
        if (field->type == TYPE_INT)
            val_set_int(v, (int64_t)rng_below(rng, 50000));
        else
            set_double(v, (double)rng_below(rng, 500));
        return;
    case VALUE_BOOLEAN:
        set_boolean(v, rng_below(rng, 2));
        return;
    case VALUE_DATE: /* some before 1970: birthdays */
        val_set_int(v,
                    (now_ms / day + (int64_t)rng_below(rng, 730) - (rng_below(rng, 8) ? 365 : 25000)) * day);
        return;
    case VALUE_TIME:
        val_set_int(v, (int64_t)rng_below(rng, 96) * 900000);
        return;
    case VALUE_DATETIME:
        val_set_int(v, (now_ms / 1000 - (int64_t)rng_below(rng, 100000)) * 1000);
        return;
    case VALUE_TEXT:
        draw_text(rng, v);
        return;
    case VALUE_COMPANY:
        draw_company(rng, text);
        break;
    case VALUE_PHONE:
        snprintf(text, sizeof text, "+%u %u %07u", (unsigned)(1 + rng_below(rng, 98)),
                 (unsigned)(100 + rng_below(rng, 899)), (unsigned)rng_below(rng, 10000000));
        break;
    case VALUE_EMAIL:
        snprintf(text, sizeof text, "user%u@example-%u.com", (unsigned)rng_below(rng, 100000),
                 (unsigned)rng_below(rng, 500));
        break;
    case VALUE_URL:
        snprintf(text, sizeof text, "https://www.example-%u.com/", (unsigned)rng_below(rng, 100000));
        break;
    case VALUE_CODE:
        snprintf(text, sizeof text, "%c%c-%05u", (char)('A' + rng_below(rng, 26)),
                 (char)('A' + rng_below(rng, 26)), (unsigned)rng_below(rng, 100000));
        break;
    case VALUE_PICK:
        choice(field->choices, rng_below(rng, count_choices(field->choices)), text, sizeof text);
        break;
    case VALUE_MULTIPICK:
        draw_multipick(rng, field->choices, text, sizeof text);
        break;
    default:
        val_set_text(v, DRAW(rng, sentences));
        return;
    }
    val_set_text(v, text);
}

static void draw_street(struct rng *rng, struct field_val *v)
{
    char text[96];
    snprintf(text, sizeof text, "%s %u%s", DRAW(rng, streets), (unsigned)(1 + rng_below(rng, 300)),
             rng_below(rng, 6) ? "" : "\r\n2nd floor");
    val_set_text(v, text);
}

static void set_text_or_null(struct field_val *v, const char *text)
{
    if (text)
        val_set_text(v, text);
    else
        val_clear(v);
}

static void draw_address(struct field_val *leaves, struct rng *rng)
{
    size_t at = rng_below(rng, ARRAY_LEN(places));
    draw_street(rng, &leaves[0]);
    set_text_or_null(&leaves[1], places[at].city);
    set_text_or_null(&leaves[2], places[at].state);
    set_text_or_null(&leaves[3], places[at].postal);
    set_text_or_null(&leaves[4], places[at].country);
    set_text_or_null(&leaves[5], places[at].state_code);
    set_text_or_null(&leaves[6], places[at].country_code);
}

void val_draw_component(struct field_val *v, struct rng *rng, enum field_type type, unsigned component)
{
    if (type == TYPE_LOCATION || (type == TYPE_ADDRESS && (component == 7 || component == 8))) {
        double range = (type == TYPE_LOCATION ? component == 0 : component == 7) ? 90 : 180;
        set_double(v, (double)((int64_t)rng_below(rng, 2000001) - 1000000) / 1000000.0 * range);
        return;
    }
    if (type == TYPE_ADDRESS) {
        size_t at = rng_below(rng, ARRAY_LEN(places));
        const char *const texts[] = {NULL,
                                     places[at].city,
                                     "State",
                                     places[at].postal,
                                     places[at].country,
                                     "ST",
                                     places[at].country_code,
                                     NULL,
                                     NULL,
                                     "Address"};
        if (component == 0)
            draw_street(rng, v);
        else
            val_set_text(v, texts[component]);
        return;
    }
    val_set_text(v, component == 0   ? DRAW(rng, salutations)
                    : component == 1 ? DRAW(rng, first_names)
                                     : DRAW(rng, last_names));
}

void val_draw_compound(struct field_val *leaves, struct rng *rng, enum field_type type, bool person)
{
    if (type == TYPE_ADDRESS) {
        draw_address(leaves, rng);
        return;
    }
    if (type == TYPE_SWITCHABLE_NAME && !person) {
        char name[96];
        draw_company(rng, name);
        val_set_text(&leaves[0], name);
        return;
    }
    unsigned n;
    type_components(type, &n);
    if (type == TYPE_SWITCHABLE_NAME)
        leaves++;
    for (unsigned i = 0; i < n; i++)
        if (type == TYPE_LOCATION || i > 0 || rng_below(rng, 2))
            val_draw_component(&leaves[i], rng, type, i);
}

void record_id_checksum(const char *id15, char out[19])
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    memcpy(out, id15, 15);
    for (int chunk = 0; chunk < 3; chunk++) {
        unsigned bits = 0;
        for (int i = 0; i < 5; i++) {
            char c = id15[chunk * 5 + i];
            if (c >= 'A' && c <= 'Z')
                bits |= 1u << i;
        }
        out[15 + chunk] = alphabet[bits];
    }
    out[18] = 0;
}

void record_id_make(const char *prefix, uint64_t number, char out[19])
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    char id[16];
    memcpy(id, prefix, 3);
    memcpy(id + 3, "SM", 2);
    for (int i = 14; i >= 5; i--, number /= 62)
        id[i] = digits[number % 62];
    id[15] = 0;
    record_id_checksum(id, out);
}

void draw_uuid(struct rng *rng, char out[37])
{
    uint64_t high = rng_next(rng), low = rng_next(rng);
    snprintf(out, 37, "%08x-%04x-4%03x-%04x-%012llx", (unsigned)(high >> 32), (unsigned)(high >> 16 & 0xffff),
             (unsigned)(high & 0xfff), (unsigned)(0x8000 | (low >> 48 & 0x3fff)),
             (unsigned long long)(low & 0xffffffffffffull));
}

void draw_transaction_key(struct rng *rng, char out[37])
{
    uint64_t high = rng_next(rng), low = rng_next(rng);
    snprintf(out, 37, "000%05x-%04x-%04x-%04x-%012llx", (unsigned)(high >> 44),
             (unsigned)(high >> 16 & 0xffff), (unsigned)(high & 0xffff), (unsigned)(low >> 48),
             (unsigned long long)(low & 0xffffffffffffull));
}
