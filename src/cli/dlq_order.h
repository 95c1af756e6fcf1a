/*
 * dlq_order: dlq retry and dlq drop: over the socket of a running daemon, else on the store under its lock.
 *
 * Ownership: borrows. Thread: main. Errors: an exit code, said on stderr.
 */
#ifndef CLI_DLQ_ORDER_H
#define CLI_DLQ_ORDER_H

#include "delivery/redrive.h"

int dlq_order(const struct config *config, enum redrive_action action, const char *sink, const char *seqs,
              const char *reason, bool all, bool dry_run);

#endif
