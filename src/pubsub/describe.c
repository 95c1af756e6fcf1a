/*
 * The status for people: what happened, and what to do. gRPC's own words are kept where they help; where
 * they hide the reason (a connection closed without a word) ours say what is behind it.
 */
#include "pubsub/internal.h"

#include <grpc/status.h>
#include <stdio.h>

/* First row whose text is contained in gRPC's wins; said after "HOST:PORT: ". */
static const struct row {
    const char *contains;
    const char *say;
} rows[] = {
    {"is not in peer certificate", "the server's certificate is for another host: check pubsub_endpoint"},
    {"certificate verify failed",
     "the server's certificate is not trusted: set tls.ca_file when it comes from a private CA"},
    {"wrong version number", "the server does not speak TLS on this port: check pubsub_endpoint"},
    {"WRONG_VERSION_NUMBER", "the server does not speak TLS on this port: check pubsub_endpoint"},
    {"proxy returned response code 407", "it wants other credentials (HTTP 407): check HTTPS_PROXY"},
    {"proxy returned response code", "it does not let us through: check NO_PROXY and its rules"},
    {"DNS resolution failed", "the name does not resolve: check pubsub_endpoint and DNS"},
    {"Connection refused",
     "connection refused: check host and port in pubsub_endpoint, and that nothing blocks them"},
    {"Network is unreachable", "no route to the network: check the connection"},
    {"No route to host", "no route to the host: check the connection"},
    {"keepalive watchdog timeout", "no answer to keepalive pings: the connection is dead"},
    {"Too many pings", "asks for fewer keepalive pings: the period is doubled"},
    {"too_many_pings", "asks for fewer keepalive pings: the period is doubled"},
    {"ENHANCE_YOUR_CALM", "asks for fewer keepalive pings: the period is doubled"},
};

static const char *find_row(const char *details)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strstr(details, rows[i].contains))
            return rows[i].say;
    return NULL;
}

/* gRPC: "Received message larger than max (8388608 vs. 4194304)". */
static bool describe_size(char *text, size_t size, const char *details, int64_t max_message)
{
    unsigned long long got, limit;
    const char *at = strstr(details, "message larger than max (");
    if (!at || sscanf(at, "message larger than max (%llu vs. %llu)", &got, &limit) != 2)
        return false;
    snprintf(text, size,
             "a message of %llu bytes is over the limit of %lld bytes: raise max_message of the org", got,
             (long long)max_message);
    return true;
}

/* gRPC's texts may hold line breaks and debris of other programs; ours go to a log line. */
static void add_words(char *text, size_t size, const char *words)
{
    size_t n = strlen(text);
    for (; *words && n + 1 < size; words++)
        text[n++] = (unsigned char)*words < ' ' || *words == 0x7f ? ' ' : *words;
    text[n] = '\0';
}

void describe_status(struct pubsub_status *status, const char *details, const char *endpoint, bool plaintext,
                     int64_t max_message, bool had_answer)
{
    char *text = status->text;
    size_t size = sizeof status->text;
    const char *say = find_row(details);

    text[0] = '\0';
    if (describe_size(text, size, details, max_message))
        return;
    if (status->grpc_code == GRPC_STATUS_UNAVAILABLE && say) {
        snprintf(text, size, "%s: %s", endpoint, say);
        return;
    }
    if (status->grpc_code == GRPC_STATUS_UNAVAILABLE && plaintext && !had_answer &&
        (strstr(details, "Socket closed") || strstr(details, "Connection reset"))) {
        snprintf(text, size,
                 "%s: the connection was closed at once: the server may expect TLS (plaintext is true)",
                 endpoint);
        return;
    }
    if (status->grpc_code == GRPC_STATUS_UNIMPLEMENTED)
        snprintf(text, size, "%s does not offer the Pub/Sub API: check pubsub_endpoint: ", endpoint);
    snprintf(text + strlen(text), size - strlen(text), "%s", pubsub_status_name(status->grpc_code));
    if (*details) {
        add_words(text, size, ": ");
        add_words(text, size, details);
    }
    if (status->error_code[0] && !strstr(details, status->error_code)) {
        add_words(text, size, " (");
        add_words(text, size, status->error_code);
        add_words(text, size, ")");
    }
}
