/*
 * text_diff: a large text from its old value and the difference that an event carries (diffFields).
 *
 * The service sends a difference instead of a long text when little of it changed:
 *
 *   "--- \n+++ " SHA-256 of the new value in hex, then for each change "@@ -FROM,COUNT +FROM,COUNT @@", COUNT lines with
 *   '-' in front, COUNT lines with '+'. Lines end with LF, the last one with nothing. No context.
 *
 * The hash is that of the whole new value with its stored line ends, which the difference does not tell: CR LF (text
 * entered in a browser) is tried first, then LF.
 *
 * Guarantees: a result has the hash that the difference names, so an old value that is not the right one, a damaged
 * difference, or mixed line ends give none. Time and memory grow with the length of both inputs, whatever they hold.
 * Ownership: borrows both, appends to out. Thread: any.
 */
#ifndef DELIVERY_TEXT_DIFF_H
#define DELIVERY_TEXT_DIFF_H

#include "base/buf.h"

/* True: the new value was appended to out. False: out is as it was, *why says what is wrong (static text). */
MUST_CHECK bool text_diff_apply(struct span old, struct span diff, struct buf *out, const char **why);

#endif
