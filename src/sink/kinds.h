/*
 * kinds: the sinks there are, one line each. Private to this folder: everybody else asks sink_ops_of.
 */
#ifndef SINK_KINDS_H
#define SINK_KINDS_H

#include "sink/sink.h"

extern const struct sink_ops sink_file_ops;
extern const struct sink_ops sink_stdout_ops;
extern const struct sink_ops sink_null_ops;

#endif
