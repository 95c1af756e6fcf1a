#include "delivery/text_diff.h"

#include "base/alloc.h"
#include "base/digest.h"

/* What is left of a text to be read line by line. */
struct reader {
    const uint8_t *next, *end;
    bool done; /* the last line was given */
};

static struct reader reader_of(struct span s)
{
    return (struct reader){s.p, s.p + s.n, false};
}

/* The next line without its end (LF, with the CR before it when `cr`); false: there is none. "a\n" is "a" and "". */
static bool read_line(struct reader *r, bool cr, struct span *line)
{
    if (r->done)
        return false;
    size_t left = (size_t)(r->end - r->next);
    const uint8_t *lf = left ? memchr(r->next, '\n', left) : NULL;
    const uint8_t *stop = lf ? lf : r->end;
    *line = span_of(r->next, (size_t)(stop - r->next));
    if (cr && lf && line->n && line->p[line->n - 1] == '\r')
        line->n--;
    r->done = !lf;
    r->next = lf ? lf + 1 : r->end;
    return true;
}

/* Lines of the new value; they borrow from both inputs. */
struct lines {
    struct span *all;
    size_t n, cap;
};

static void add_line(struct lines *lines, struct span line)
{
    if (lines->n == lines->cap) {
        lines->cap = lines->cap ? 2 * lines->cap : 64;
        lines->all = xrealloc(lines->all, lines->cap * sizeof *lines->all);
    }
    lines->all[lines->n++] = line;
}

struct hunk {
    uint64_t old_from, old_count, new_from, new_count;
};

static bool read_number(struct span *s, uint64_t *out)
{
    size_t digits = 0;
    for (*out = 0; digits < s->n && digits < 10 && s->p[digits] >= '0' && s->p[digits] <= '9'; digits++)
        *out = *out * 10 + (uint64_t)(s->p[digits] - '0');
    *s = span_of(s->p + digits, s->n - digits);
    return digits > 0;
}

static bool skip(struct span *s, const char *text)
{
    size_t n = strlen(text);
    if (s->n < n || memcmp(s->p, text, n) != 0)
        return false;
    *s = span_of(s->p + n, s->n - n);
    return true;
}

static bool parse_hunk(struct span line, struct hunk *h)
{
    return skip(&line, "@@ -") && read_number(&line, &h->old_from) && skip(&line, ",") &&
           read_number(&line, &h->old_count) && skip(&line, " +") && read_number(&line, &h->new_from) &&
           skip(&line, ",") && read_number(&line, &h->new_count) && skip(&line, " @@") && line.n == 0;
}

/*
 * Copy the lines before a hunk. Where it stands is told twice; the side that has lines is asked, because of the other
 * the format does not say whether it names the line before or behind.
 */
static bool copy_until(struct reader *old, const struct hunk *h, uint64_t *old_line, struct lines *out)
{
    struct span line;
    while (h->new_count ? out->n + 1 < h->new_from : *old_line + 1 < h->old_from) {
        if (!read_line(old, true, &line))
            return false;
        add_line(out, line);
        (*old_line)++;
    }
    if (h->new_count && out->n + 1 != h->new_from)
        return false;
    return h->old_count == 0 || *old_line + 1 == h->old_from;
}

/* The lines of a hunk: what goes must be there. */
static const char *apply_hunk(struct reader *old, struct reader *diff, const struct hunk *h,
                              uint64_t *old_line, struct lines *out)
{
    uint64_t gone = h->old_count, come = h->new_count;
    struct span line, is;
    while (gone || come) {
        if (!read_line(diff, false, &line) || line.n == 0)
            return "the difference ends within a change";
        struct span text = span_of(line.p + 1, line.n - 1);
        if (line.p[0] == '-' && gone) {
            if (!read_line(old, true, &is) || !span_equal(is, text))
                return "the value held is not the one it starts from";
            (*old_line)++;
            gone--;
        } else if (line.p[0] == '+' && come) {
            add_line(out, text);
            come--;
        } else {
            return "the difference has lines that its counts do not allow";
        }
    }
    return NULL;
}

static const char *apply(struct span old_text, struct reader *diff, struct lines *out)
{
    struct reader old = reader_of(old_text);
    uint64_t old_line = 0;
    struct span line;
    while (read_line(diff, false, &line)) {
        struct hunk h;
        if (!parse_hunk(line, &h))
            return "a line of the difference is none of '@@ -N,N +N,N @@'";
        if (!copy_until(&old, &h, &old_line, out))
            return "a change stands beyond the value held, or before the change above it";
        const char *why = apply_hunk(&old, diff, &h, &old_line, out);
        if (why)
            return why;
    }
    while (read_line(&old, true, &line))
        add_line(out, line);
    return NULL;
}

/* Join the lines; true when the result has the hash. */
static bool join(const struct lines *lines, const char *end, const uint8_t hash[32], struct buf *out)
{
    size_t start = out->len;
    uint8_t is[32];
    for (size_t i = 0; i < lines->n; i++) {
        if (i)
            buf_add_str(out, end);
        buf_add_span(out, lines->all[i]);
    }
    digest_sha256(span_of(out->data + start, out->len - start), is);
    if (memcmp(is, hash, sizeof is) == 0)
        return true;
    out->len = start;
    return false;
}

static bool read_head(struct reader *diff, uint8_t hash[32])
{
    struct span line;
    if (!read_line(diff, false, &line) || !skip(&line, "---") || (line.n && !span_equal_str(line, " ")))
        return false;
    return read_line(diff, false, &line) && skip(&line, "+++ ") && line.n == 64 &&
           hex_decode((const char *)line.p, 64, hash, 32) == 32;
}

bool text_diff_apply(struct span old, struct span diff, struct buf *out, const char **why)
{
    struct reader r = reader_of(diff);
    struct lines lines = {NULL, 0, 0};
    uint8_t hash[32];
    bool done = false;
    if (!read_head(&r, hash)) {
        *why = "it does not begin with '---' and '+++ SHA-256'";
        return false;
    }
    buf_reserve(out, 0); /* so that an empty result has bytes to be hashed */
    *why = apply(old, &r, &lines);
    if (!*why) {
        done = join(&lines, "\r\n", hash, out) || join(&lines, "\n", hash, out);
        *why = done ? NULL : "the result does not have the hash it names";
    }
    free(lines.all);
    return done;
}
