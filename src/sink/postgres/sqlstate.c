#include "sink/postgres/sqlstate.h"

#include "base/compiler.h"

#include <stddef.h>
#include <string.h>

/* The first entry that the state begins with. Single codes stand before their class. */
static const struct {
    const char *prefix;
    enum pg_fault fault;
} table[] = {
    {"08", PG_FAULT_AWAY},       /* connection */
    {"21", PG_FAULT_ROW},        /* cardinality: two rows of one statement are one row of the table */
    {"22", PG_FAULT_ROW},        /* data: out of range, too long, cannot be converted */
    {"23", PG_FAULT_ROW},        /* constraints: not null, unique, check, foreign key */
    {"25006", PG_FAULT_AWAY},    /* read-only: a standby, or failing over */
    {"25P03", PG_FAULT_AWAY},    /* idle in transaction for too long */
    {"28", PG_FAULT_LOGIN},      /* user or password */
    {"3D000", PG_FAULT_LOGIN},   /* no such database */
    {"3F000", PG_FAULT_CHANGED}, /* no such schema */
    {"40", PG_FAULT_BUSY},       /* serialization, deadlock */
    {"42501", PG_FAULT_RIGHT},
    {"42", PG_FAULT_CHANGED}, /* undefined or of another type: table, column, function */
    {"44", PG_FAULT_ROW},     /* a view's check option */
    {"53", PG_FAULT_AWAY},    /* disk, memory, connections */
    {"54", PG_FAULT_ROW},     /* limits: a row or an index entry too large */
    {"55P03", PG_FAULT_BUSY}, /* lock not to be had in time */
    {"55", PG_FAULT_BUSY},
    {"57014", PG_FAULT_BUSY}, /* cancelled, or over the time limit */
    {"57", PG_FAULT_AWAY},    /* shutting down, crashed, starting */
    {"58", PG_FAULT_AWAY},    /* the server's system: input and output */
    {"P0", PG_FAULT_ROW},     /* raised by a trigger or function of the target */
    {"XX", PG_FAULT_AWAY},    /* the server's own faults */
};

enum pg_fault pg_fault_of(const char *state)
{
    if (!state || !*state)
        return PG_FAULT_AWAY;
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (strncmp(state, table[i].prefix, strlen(table[i].prefix)) == 0)
            return table[i].fault;
    return PG_FAULT_OTHER;
}
