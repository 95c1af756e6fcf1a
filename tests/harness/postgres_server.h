/*
 * postgres_server: a PostgreSQL of Debian's package in a temporary folder, for one test program.
 *
 * It listens on a Unix socket in that folder and nowhere else, trusts everybody who may enter, and writes without
 * fsync: tests kill processes, not machines. As root it runs as an unprivileged user, as PostgreSQL demands. It dies
 * with the program that started it, however that ends.
 *
 * Calling order: postgres_server_start -> postgres_server_folder -> (postgres_server_kill -> postgres_server_again)*
 * -> postgres_server_stop.
 * Thread: one. Errors: NULL where there is no PostgreSQL; anything else that fails is a BUG.
 */
#ifndef HARNESS_POSTGRES_SERVER_H
#define HARNESS_POSTGRES_SERVER_H

struct postgres_server;

struct postgres_server *postgres_server_start(void);
/* The folder with the socket: host=FOLDER user=postgres. */
const char *postgres_server_folder(const struct postgres_server *s);
void postgres_server_kill(struct postgres_server *s);  /* kill -9, connections included */
void postgres_server_again(struct postgres_server *s); /* after a kill: with what was committed */
void postgres_server_stop(struct postgres_server *s);  /* and remove the folder */

#endif
