/*
 * table: aligned columns of text, for people.
 *
 * A row is a list of cells; a note under a row says what is wrong with it. Columns are as wide as their widest
 * cell; widths count characters of UTF-8, not bytes. The last column is not padded.
 *
 * Calling order: table_init -> table_cell … (columns per row; the first row is the heading) -> table_print ->
 * table_release. Ownership: the table copies everything. Thread: one at a time. Errors: none.
 */
#ifndef BASE_TABLE_H
#define BASE_TABLE_H

#include "base/buf.h"

enum { TABLE_MAX_COLUMNS = 16 };

struct table_row;

struct table {
    const char *align; /* per column 'l' or 'r' */
    size_t columns;
    size_t n_rows, next_column;
    struct table_row *rows;
};

void table_init(struct table *t, const char *align);
void table_cell(struct table *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* For the row whose last cell was given: a line under it, in a colour that calls when colours are on. */
void table_note(struct table *t, const char *text);
void table_print(const struct table *t, const char *indent, bool colour, struct buf *out);
void table_release(struct table *t);

#endif
