/*
 * mirrors: the SQL targets there are, one line each. Private to this folder: everybody else asks mirror_ops_of.
 */
#ifndef SINK_MIRRORS_H
#define SINK_MIRRORS_H

#include "sink/mirror.h"

extern const struct mirror_ops mirror_sqlite_ops;
extern const struct mirror_ops mirror_postgres_ops;

#endif
