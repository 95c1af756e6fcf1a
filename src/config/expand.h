/*
 * expand: ${NAME} and ${NAME:-default} in a scalar, and secrets that stand in files.
 *
 * Expansion happens after YAML was parsed: what a variable holds is text, never structure. "$${" is a
 * literal "${"; any other '$' stands for itself.
 *
 * Guarantees: a result is one line of printable UTF-8 without NUL, or several where asked for. Messages name the variable or the
 * file, never a value.
 * Ownership: the result is the caller's (free; wipe a secret first).
 * Thread: one at a time (environment). Errors: NULL, with *why: a static or formatted text to free.
 */
#ifndef CONFIG_EXPAND_H
#define CONFIG_EXPAND_H

#include "base/span.h"

#include "base/compiler.h"

enum expand_form { EXPAND_ONE_LINE, EXPAND_LINES };

/* The text with variables replaced. May be empty. */
MUST_CHECK char *expand_text(struct span text, enum expand_form form, char **why);
/* The content of a secret's file, without the newline at its end. Never empty. */
MUST_CHECK char *expand_secret_file(const char *path, enum expand_form form, char **why);

#endif
