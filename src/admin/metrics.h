/*
 * metrics: a snapshot as Prometheus text or OpenMetrics text (README, "Metrics").
 *
 * Thread: any. Errors: none.
 */
#ifndef ADMIN_METRICS_H
#define ADMIN_METRICS_H

#include "admin/snapshot.h"

enum metrics_format { METRICS_PROMETHEUS, METRICS_OPENMETRICS };

void metrics_add(const struct snapshot *s, enum metrics_format format, struct buf *out);
const char *metrics_content_type(enum metrics_format format);

#endif
