/*
 * commit_thief: between a client and a PostgreSQL on Unix sockets, a wire that breaks at COMMIT.
 *
 * It carries every byte until the client sends COMMIT, and then, once: THIEF_TAKES_ANSWER passes it on, waits for the
 * server's answer, keeps that to itself and cuts the line; THIEF_TAKES_COMMIT cuts it without passing it on. The
 * client sees the same. Connections after that are carried whole.
 *
 * Calling order: commit_thief_start -> commit_thief_folder -> commit_thief_arm -> commit_thief_stop.
 * Thread: one of its own; commit_thief_arm any. Errors: BUG.
 */
#ifndef HARNESS_COMMIT_THIEF_H
#define HARNESS_COMMIT_THIEF_H

enum thief_mood { THIEF_HONEST, THIEF_TAKES_ANSWER, THIEF_TAKES_COMMIT };

struct commit_thief;

/* folder: where the server's socket is. */
struct commit_thief *commit_thief_start(const char *folder);
/* Where ours is: host=FOLDER. */
const char *commit_thief_folder(const struct commit_thief *t);
void commit_thief_arm(struct commit_thief *t, enum thief_mood mood);
void commit_thief_stop(struct commit_thief *t);

#endif
