/*
 * tcp_relay: a relay between a client and a server that can fall silent or cut the line.
 *
 * Calling order: tcp_relay_start -> tcp_relay_port -> tcp_relay_silence / hush / cut -> tcp_relay_stop.
 * Thread: one of its own; the functions any.
 */
#ifndef HARNESS_TCP_RELAY_H
#define HARNESS_TCP_RELAY_H

struct tcp_relay;

/* To 127.0.0.1:server_port; 0: accepts and never says a word. */
struct tcp_relay *tcp_relay_start(int server_port);
int tcp_relay_port(const struct tcp_relay *r);
void tcp_relay_silence(struct tcp_relay *r); /* bytes vanish in both directions, the connection stays */
void tcp_relay_hush(struct tcp_relay *r);    /* the same, for the connections that are open now alone */
void tcp_relay_cut(struct tcp_relay *r);     /* what is connected is closed */
void tcp_relay_stop(struct tcp_relay *r);

#endif
