/*
 * guard: a damaged store ends the process with exit 3 and a message, not with a crash.
 *
 * LMDB trusts its pages: a damaged one makes it read where nothing is. The guard catches SIGSEGV and SIGBUS whose
 * address lies in a watched map, or that happen inside liblmdb, and says which store it was. Any other fault is
 * ours and takes its usual course.
 *
 * Calling order: guard_watch after the environment was opened -> guard_unwatch before it is closed.
 * Thread: any. Errors: none; more than eight maps at once are not watched.
 */
#ifndef STORE_GUARD_H
#define STORE_GUARD_H

/* Watch the map of FOLDER/data.mdb, found in /proc/self/maps. folder is borrowed until guard_unwatch(folder). */
void guard_watch(const char *folder);
void guard_unwatch(const char *folder);

#endif
