#include "base/table.h"

#include "base/alloc.h"
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

struct table_row {
    char *cells[TABLE_MAX_COLUMNS];
    char *note;
};

void table_init(struct table *t, const char *align)
{
    *t = (struct table){.align = align, .columns = strlen(align)};
    BUG_IF(t->columns == 0 || t->columns > TABLE_MAX_COLUMNS);
}

/* One row, one line, and nothing that a terminal would obey. */
static char *plain_copy(const char *text)
{
    char *copy = xstrdup(text);
    for (char *p = copy; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    return copy;
}

void table_cell(struct table *t, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (t->next_column == 0) {
        t->rows = xrealloc(t->rows, (t->n_rows + 1) * sizeof *t->rows);
        t->rows[t->n_rows++] = (struct table_row){.note = NULL};
    }
    t->rows[t->n_rows - 1].cells[t->next_column] = plain_copy(text);
    t->next_column = (t->next_column + 1) % t->columns;
}

void table_note(struct table *t, const char *text)
{
    BUG_IF(t->n_rows == 0 || t->next_column != 0);
    struct table_row *row = &t->rows[t->n_rows - 1];
    free(row->note);
    row->note = plain_copy(text);
}

static size_t width_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void print_row(const struct table *t, const struct table_row *row, const size_t *widths, struct buf *out)
{
    for (size_t c = 0; c < t->columns; c++) {
        const char *text = row->cells[c] ? row->cells[c] : "";
        int pad = (int)(widths[c] - width_of(text));
        bool last = c + 1 == t->columns;
        if (t->align[c] == 'r')
            buf_addf(out, "%*s%s", pad, "", text);
        else
            buf_addf(out, "%s%*s", text, last ? 0 : pad, "");
        if (!last)
            buf_add_str(out, "  ");
    }
}

void table_print(const struct table *t, const char *indent, bool colour, struct buf *out)
{
    size_t widths[TABLE_MAX_COLUMNS] = {0};
    for (size_t r = 0; r < t->n_rows; r++)
        for (size_t c = 0; c < t->columns; c++) {
            size_t w = t->rows[r].cells[c] ? width_of(t->rows[r].cells[c]) : 0;
            widths[c] = w > widths[c] ? w : widths[c];
        }
    for (size_t r = 0; r < t->n_rows; r++) {
        const struct table_row *row = &t->rows[r];
        buf_add_str(out, indent);
        buf_add_str(out, colour && r == 0 ? "\033[2m" : "");
        print_row(t, row, widths, out);
        buf_add_str(out, colour && r == 0 ? "\033[0m\n" : "\n");
        if (row->note)
            buf_addf(out, "%s  %s! %s%s\n", indent, colour ? "\033[31m" : "", row->note, colour ? "\033[0m" : "");
    }
}

void table_release(struct table *t)
{
    for (size_t r = 0; r < t->n_rows; r++) {
        for (size_t c = 0; c < t->columns; c++)
            free(t->rows[r].cells[c]);
        free(t->rows[r].note);
    }
    free(t->rows);
    *t = (struct table){0};
}
