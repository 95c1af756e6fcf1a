/*
 * owner: whose files root makes in somebody else's folder.
 *
 * Commands are often run as root, beside a daemon that is not: a lock or a data file of root's in the daemon's store
 * would keep the daemon from opening it at its next start.
 *
 * Guarantees: only what this process has just made is given away, to the owner of the folder it is in; whoever is
 * not root changes nothing. Where root may not do that (a container without the capability), it stays as it is.
 *
 * Ownership: borrows. Thread: any. Errors: none; the next open says what is wrong.
 */
#ifndef STORE_OWNER_H
#define STORE_OWNER_H

/* A file or folder that this process has just made in `folder`. */
void owner_give(int fd, const char *folder);
/* Make the file `name` there, empty, unless there is one: for libraries that make their files themselves. */
void owner_make(const char *folder, const char *name);

#endif
