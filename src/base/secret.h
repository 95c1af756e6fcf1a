/*
 * secret: keeping secrets inside the process.
 *
 * What is done elsewhere: options never take secrets, so that the process list shows none; messages, status
 * and logs are made without them; memory that held one is wiped before it is given back (alloc.h).
 *
 * What is done here: no core dump, since it would hold every token, key and password in plain text, and often
 * travels (a bug report, a crash collector). TIDEMARK_CORE=1 leaves core dumps as the system has them, for
 * those who look for a fault and know what the file holds.
 *
 * What cannot be helped: root and the same user can read a process's memory and environment. Secrets in
 * files (x_file) stay out of the latter.
 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

/* Once, at the start of the program. */
void secret_forbid_cores(void);

#endif
