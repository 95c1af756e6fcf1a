#include "delivery/record_state.h"

#include "base/alloc.h"

enum {
    FORMAT = 1,
    FORMAT_EDITS =
        2, /* bound and edit behind the stamps; at the end which fields edits were kept from (put_edited) */
    HAS_BASE = 1 << 2, /* another than `existed` */
    HAS_DIRTY = 1 << 3,
    HAS_STAMP = 1 << 4,
    HAS_KEPT = 1 << 5,
    HAS_HASHES = 1 << 6,
    HAS_DELETED = 1 << 7,
    EXISTENCE = 3
};

enum { KEPT_NONE = 0, KEPT_NULL = 1, KEPT_VALUE = 2 }; /* + 4 * type */

/* --- questions ------------------------------------------------------------------------------------ */

const struct field_version *record_state_find(const struct record_state *s, uint32_t field)
{
    uint32_t low = 0, high = s->n;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (s->fields[mid].field < field)
            low = mid + 1;
        else
            high = mid;
    }
    return low < s->n && s->fields[low].field == field ? &s->fields[low] : NULL;
}

struct version record_state_version(const struct record_state *s, uint32_t field)
{
    const struct field_version *f = record_state_find(s, field);
    return f && version_compare(&f->version, &s->base) > 0 ? f->version : s->base;
}

struct version record_state_newest(const struct record_state *s)
{
    struct version newest = s->base;
    if (version_compare(&s->existed, &newest) > 0)
        newest = s->existed;
    if (version_compare(&s->dirty, &newest) > 0)
        newest = s->dirty;
    for (uint32_t i = 0; i < s->n; i++)
        if (version_compare(&s->fields[i].version, &newest) > 0)
            newest = s->fields[i].version;
    return newest;
}

bool record_state_incomplete(const struct record_state *s)
{
    return s->existence == RECORD_UNSEEN || !version_is_none(&s->dirty);
}

void record_state_keep(struct record_state *s, uint32_t i, const struct mirror_value *value)
{
    BUG_IF(i >= s->n);
    ((struct field_version *)s->fields)[i].kept = value;
}

void record_state_hash(struct record_state *s, const struct version *v, uint32_t n, const uint32_t *fields,
                       const uint64_t *hashes, struct arena *a)
{
    struct field_version *out = arena_alloc(a, ((size_t)s->n + n + 1) * sizeof *out);
    uint32_t count = 0, k = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (hashes[i] == 0)
            continue;
        while (k < s->n && s->fields[k].field < fields[i])
            out[count++] = s->fields[k++];
        if (k < s->n && s->fields[k].field == fields[i])
            out[count] = s->fields[k++];
        else
            out[count] = (struct field_version){.field = fields[i], .version = *v};
        out[count++].hash = hashes[i];
    }
    while (k < s->n)
        out[count++] = s->fields[k++];
    s->fields = out;
    s->n = count;
}

void record_state_edited(struct record_state *s, const struct version *v)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (version_compare(&s->fields[i].version, v) == 0)
            ((struct field_version *)s->fields)[i].edited = true;
    s->base_edited |= version_compare(&s->base, v) == 0;
}

void record_state_fold(struct record_state *s, const struct version *horizon, struct arena *a)
{
    struct version top = s->base;
    uint32_t n = 0;
    struct field_version *fields = arena_alloc(a, (s->n + 1) * sizeof *fields);
    for (uint32_t i = 0; i < s->n; i++) {
        const struct field_version *f = &s->fields[i];
        const bool settled = version_compare(&f->version, horizon) <= 0 && !f->kept;
        if (settled && version_compare(&f->version, &top) > 0)
            top = f->version;
        if (!settled || f->hash)
            fields[n++] = *f;
    }
    if (s->existence == RECORD_EXISTS && version_is_none(&s->dirty) &&
        version_compare(&s->existed, horizon) <= 0 && version_compare(&top, &s->existed) > 0)
        s->existed = top; /* one version fewer to keep: what is compared with it is newer than both */
    s->base_edited &= version_compare(&top, &s->base) == 0; /* else it stands for others, too */
    s->base = top;
    s->fields = fields;
    s->n = n;
}

/* --- bytes ---------------------------------------------------------------------------------------- */

static void put_varint(struct buf *b, uint64_t v)
{
    uint8_t *to = buf_reserve(b, 10);
    size_t n = 0;
    for (; v > 0x7f; v >>= 7)
        to[n++] = (uint8_t)(v | 0x80);
    to[n++] = (uint8_t)v;
    b->len += n;
}

static uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

static int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

/* As a difference to *last, which it becomes. Differences wrap: any value goes through. */
static void put_version(struct buf *b, const struct version *v, struct version *last)
{
    put_varint(b, zigzag((int64_t)((uint64_t)(v->epoch - last->epoch) << 1)) | (v->rank & 1));
    put_varint(b, zigzag((int64_t)((uint64_t)v->commit - (uint64_t)last->commit)));
    put_varint(b, zigzag(v->sequence));
    *last = *v;
}

/* Fields that share a version: the first of them, and how many they are. */
struct group {
    uint32_t first, members;
};

/* The groups in the order of their first fields, and of each field the number of its group. How many groups. */
static uint32_t group_fields(const struct record_state *s, struct group *groups, uint32_t *group_of)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t g = 0;
        while (g < n && version_compare(&s->fields[groups[g].first].version, &s->fields[i].version) != 0)
            g++;
        if (g == n)
            groups[n++] = (struct group){i, 0};
        groups[g].members++;
        group_of[i] = g;
    }
    return n;
}

static void put_groups(struct buf *b, const struct record_state *s, struct version *last)
{
    enum { FEW = 256 };
    struct group few_groups[FEW], *groups = s->n > FEW ? xcalloc(s->n, sizeof *groups) : few_groups;
    uint32_t few[FEW], *group_of = s->n > FEW ? xcalloc(s->n, sizeof *group_of) : few;
    const uint32_t n = group_fields(s, groups, group_of);
    for (uint32_t g = 0; g < n; g++) {
        uint32_t number = 0, left = groups[g].members;
        put_varint(b, left);
        put_version(b, &s->fields[groups[g].first].version, last);
        for (uint32_t i = groups[g].first; left; i++) {
            if (group_of[i] != g)
                continue;
            put_varint(b, s->fields[i].field - number);
            number = s->fields[i].field;
            left--;
        }
    }
    put_varint(b, 0);
    if (s->n > FEW) {
        free(groups);
        free(group_of);
    }
}

static void put_kept(struct buf *b, const struct mirror_value *v)
{
    if (!v) {
        put_varint(b, KEPT_NONE);
        return;
    }
    put_varint(b, (v->is_null ? KEPT_NULL : KEPT_VALUE) + 4 * (uint64_t)v->type);
    if (v->is_null)
        return;
    if (v->type == MIRROR_DOUBLE) {
        buf_add(b, &v->as.number, sizeof v->as.number);
    } else if (v->type == MIRROR_TEXT || v->type == MIRROR_JSON) {
        put_varint(b, v->as.text.n);
        buf_add_span(b, v->as.text);
    } else {
        put_varint(b, zigzag(v->as.integer));
    }
}

enum { BASE_EDITED = 1, FIELDS_EDITED = 2 };

static bool has_edited(const struct record_state *s)
{
    bool edited = s->base_edited;
    for (uint32_t i = 0; i < s->n; i++)
        edited |= s->fields[i].edited;
    return edited;
}

static void put_edited(struct buf *b, const struct record_state *s)
{
    bool fields = false;
    for (uint32_t i = 0; i < s->n; i++)
        fields |= s->fields[i].edited;
    buf_add_char(b, (char)((s->base_edited ? BASE_EDITED : 0) | (fields ? FIELDS_EDITED : 0)));
    for (uint32_t first = 0; fields && first < s->n; first += 8) {
        unsigned bits = 0;
        for (uint32_t i = first; i < s->n && i < first + 8; i++)
            bits |= (unsigned)s->fields[i].edited << (i - first);
        buf_add_char(b, (char)bits);
    }
}

void record_state_encode(const struct record_state *s, struct buf *out)
{
    struct version last = VERSION_NONE;
    unsigned flags = s->existence;
    BUG_IF(s->n > RECORD_STATE_MOST_FIELDS);
    if (version_compare(&s->base, &s->existed) != 0)
        flags |= HAS_BASE;
    if (!version_is_none(&s->dirty))
        flags |= HAS_DIRTY;
    if (s->stamp_ms)
        flags |= HAS_STAMP;
    if (s->deleted_ms)
        flags |= HAS_DELETED;
    for (uint32_t i = 0; i < s->n; i++) {
        flags |= s->fields[i].kept ? HAS_KEPT : 0;
        flags |= s->fields[i].hash ? HAS_HASHES : 0;
    }
    const bool edits = s->bound_ms || s->edit_ms || has_edited(s);
    buf_add_char(out, edits ? FORMAT_EDITS : FORMAT);
    buf_add_char(out, (char)flags);
    if (s->existence != RECORD_UNSEEN)
        put_version(out, &s->existed, &last);
    if (flags & HAS_BASE)
        put_version(out, &s->base, &last);
    if (flags & HAS_DIRTY)
        put_version(out, &s->dirty, &last);
    if (flags & HAS_STAMP)
        put_varint(out, zigzag(s->stamp_ms));
    if (flags & HAS_DELETED)
        put_varint(out, zigzag(s->deleted_ms));
    if (edits) {
        put_varint(out, zigzag(s->bound_ms));
        put_varint(out, zigzag(s->edit_ms));
    }
    put_groups(out, s, &last);
    for (uint32_t i = 0; (flags & HAS_KEPT) && i < s->n; i++)
        put_kept(out, s->fields[i].kept);
    for (uint32_t i = 0; (flags & HAS_HASHES) && i < s->n; i++)
        buf_add(out, &s->fields[i].hash, sizeof s->fields[i].hash);
    if (edits)
        put_edited(out, s);
}

struct bytes {
    const uint8_t *p, *end;
    bool bad;
};

static uint64_t get_varint(struct bytes *b)
{
    uint64_t v = 0;
    for (unsigned shift = 0; b->p < b->end && shift < 64; shift += 7) {
        uint8_t c = *b->p++;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80))
            return v;
    }
    b->bad = true;
    return 0;
}

static struct version get_version(struct bytes *b, struct version *last)
{
    uint64_t first = get_varint(b);
    struct version v = {.rank = (uint32_t)(first & 1)};
    v.epoch = last->epoch + (uint32_t)(unzigzag(first & ~(uint64_t)1) >> 1);
    v.commit = (int64_t)((uint64_t)last->commit + (uint64_t)unzigzag(get_varint(b)));
    int64_t sequence = unzigzag(get_varint(b));
    b->bad |= sequence < INT32_MIN || sequence > INT32_MAX;
    v.sequence = (int32_t)sequence;
    *last = v;
    return v;
}

static int by_field(const void *a, const void *b)
{
    const struct field_version *x = a, *y = b;
    return x->field < y->field ? -1 : x->field > y->field;
}

static void get_groups(struct bytes *b, struct version *last, struct arena *a, struct record_state *s)
{
    /* A field takes a byte at least. */
    size_t room = (size_t)(b->end - b->p);
    if (room > RECORD_STATE_MOST_FIELDS)
        room = RECORD_STATE_MOST_FIELDS;
    struct field_version *fields = arena_alloc(a, (room + 1) * sizeof *fields);
    bool sorted = true;
    for (uint64_t members; !b->bad && (members = get_varint(b)) != 0;) {
        struct version v = get_version(b, last);
        uint64_t number = 0;
        if (members > room - s->n)
            b->bad = true;
        for (uint64_t i = 0; !b->bad && i < members; i++) {
            uint64_t step = get_varint(b);
            number += step;
            b->bad |= step == 0 || step > RECORD_STATE_MOST_NUMBER || number > RECORD_STATE_MOST_NUMBER;
            sorted &= s->n == 0 || fields[s->n - 1].field < number;
            fields[s->n++] = (struct field_version){.field = (uint32_t)number, .version = v};
        }
    }
    if (!sorted)
        qsort(fields, s->n, sizeof *fields, by_field);
    for (uint32_t i = 1; i < s->n; i++)
        b->bad |= fields[i - 1].field == fields[i].field;
    arena_shrink(a, fields, (room + 1) * sizeof *fields, (s->n + 1) * sizeof *fields);
    s->fields = fields;
}

static const struct mirror_value *get_kept(struct bytes *b, struct arena *a)
{
    uint64_t word = get_varint(b);
    if (b->bad || word == KEPT_NONE)
        return NULL;
    struct mirror_value *v = arena_alloc(a, sizeof *v);
    *v = (struct mirror_value){.is_null = (word & 3) == KEPT_NULL, .type = (enum mirror_type)(word / 4)};
    b->bad |= word / 4 > MIRROR_JSON || (word & 3) == 3 || (word & 3) == KEPT_NONE;
    if (b->bad || v->is_null)
        return v;
    if (v->type == MIRROR_DOUBLE) {
        if ((size_t)(b->end - b->p) < sizeof v->as.number) {
            b->bad = true;
            return v;
        }
        memcpy(&v->as.number, b->p, sizeof v->as.number);
        b->p += sizeof v->as.number;
    } else if (v->type == MIRROR_TEXT || v->type == MIRROR_JSON) {
        uint64_t n = get_varint(b);
        if (b->bad || n > (size_t)(b->end - b->p)) {
            b->bad = true;
            return v;
        }
        v->as.text = span_of(b->p, n);
        b->p += n;
    } else {
        v->as.integer = unzigzag(get_varint(b));
    }
    return v;
}

static void get_edited(struct bytes *b, struct record_state *s)
{
    struct field_version *fields = (struct field_version *)s->fields;
    const unsigned which = (unsigned)get_varint(b);
    const size_t n = which & FIELDS_EDITED ? ((size_t)s->n + 7) / 8 : 0;
    if (b->bad || which > (BASE_EDITED | FIELDS_EDITED) || (size_t)(b->end - b->p) < n) {
        b->bad = true;
        return;
    }
    s->base_edited = which & BASE_EDITED;
    for (uint32_t i = 0; n && i < s->n; i++)
        fields[i].edited = b->p[i / 8] >> (i % 8) & 1;
    b->p += n;
}

int record_state_decode(struct span bytes, struct arena *a, struct record_state *out, struct err *e)
{
    struct version last = VERSION_NONE;
    *out = RECORD_STATE_NONE;
    if (bytes.n == 0)
        return 0;
    const bool edits = bytes.p[0] == FORMAT_EDITS;
    struct bytes b = {bytes.p, bytes.p + bytes.n, bytes.n < 3 || (bytes.p[0] != FORMAT && !edits)};
    unsigned flags = b.bad ? 0 : b.p[1];
    b.p += b.bad ? 0 : 2;
    out->existence = (enum record_existence)(flags & EXISTENCE);
    b.bad |= out->existence > RECORD_DELETED;
    if (out->existence != RECORD_UNSEEN)
        out->existed = get_version(&b, &last);
    out->base = flags & HAS_BASE ? get_version(&b, &last) : out->existed;
    if (flags & HAS_DIRTY)
        out->dirty = get_version(&b, &last);
    if (flags & HAS_STAMP)
        out->stamp_ms = unzigzag(get_varint(&b));
    if (flags & HAS_DELETED)
        out->deleted_ms = unzigzag(get_varint(&b));
    if (edits) {
        out->bound_ms = unzigzag(get_varint(&b));
        out->edit_ms = unzigzag(get_varint(&b));
    }
    if (!b.bad)
        get_groups(&b, &last, a, out);
    struct field_version *fields = (struct field_version *)out->fields;
    for (uint32_t i = 0; (flags & HAS_KEPT) && !b.bad && i < out->n; i++)
        fields[i].kept = get_kept(&b, a);
    for (uint32_t i = 0; (flags & HAS_HASHES) && !b.bad && i < out->n; i++) {
        if ((size_t)(b.end - b.p) < sizeof fields[i].hash) {
            b.bad = true;
            break;
        }
        memcpy(&fields[i].hash, b.p, sizeof fields[i].hash);
        b.p += sizeof fields[i].hash;
    }
    if (edits)
        get_edited(&b, out);
    if (!b.bad && b.p == b.end)
        return 0;
    *out = RECORD_STATE_NONE;
    return err_set(
        e, ERR_REJECTED, "delivery", 0,
        "the state of a record (column _state, or _tidemark_tombstones) was not written by this program: "
        "%zu bytes that do not parse",
        bytes.n);
}
