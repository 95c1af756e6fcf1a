/*
 * file: what tests may ask of a file sink beside its contract.
 *
 * Thread: the sink's.
 */
#ifndef SINK_FILE_H
#define SINK_FILE_H

#include "sink/sink.h"

/* How often this sink has asked for durability (fdatasync) since it was made. */
uint64_t sink_file_syncs(const struct sink *s);

#endif
