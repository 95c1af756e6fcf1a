/*
 * tidemark: keeps other systems in step with Salesforce.
 */
#include "cli/cli.h"

#include "base/secret.h"
#include "base/text.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const struct command commands[] = {
    {"run", "the daemon: keep targets in step", cli_run,
     "[options]\n\n"
     "Subscribes to every configured topic and delivers each change to every sink, once and in order.\n"
     "It never exits for a fault of a source or a sink: the fault shows in 'tidemark status', and is "
     "retried.\n\n"
     "      --until-idle SECONDS  exit 0 once everything is caught up and nothing new came for SECONDS (>= "
     "1)\n"
     "      --deadline SECONDS    with --until-idle: exit 4 or 5 after so long without contact (default 60)\n"
     "      --dry-run             print what sinks that mirror records would do next, as SQL, and do "
     "nothing"},
    {"check", "validate the configuration, offline", cli_check,
     "[options]\n\n"
     "Prints every mistake of the configuration in one run, and exits 2 if there is one.\n\n"
     "      --print               the effective configuration with defaults, secrets masked\n"
     "      --schema              the JSON Schema of the configuration file"},
    {"doctor", "check against the real things, and say what to do", cli_doctor,
     "[options]\n\n"
     "Proxy, login, clock, topics and permissions, the store's place and room, outputs. Exits 0, or with the "
     "lowest code\n"
     "that something bad stands for: 2 configuration, 3 store, 4 source, 5 sink.\n\n"
     "      --json                one JSON object per finding and line"},
    {"init", "print a commented configuration to start from", cli_init,
     "\n\nWrites to standard output; redirect it to a file and fill it in."},
    {"tail", "look at a stream: one line per change", cli_tail,
     "[TOPIC...] [options]\n\n"
     "Needs no sink and leaves no trace. Without TOPIC: every configured subscription's.\n\n"
     "      --from POSITION       latest (default), earliest, or a replay id (hex, base64:..., int:...)\n"
     "      --journal             read what the store holds instead of asking Salesforce (default: "
     "earliest)\n"
     "  -n, --count N             exit 0 after N changes\n"
     "      --json                one JSON object per line\n"
     "      --org NAME            with several orgs: whose topics"},
    {"status", "subscriptions, journal, sinks, dead letters, incidents", cli_status,
     "[options]\n\nExits 0 whatever it shows. With the daemon down it shows what the store holds.\n\n"
     "      --json                for scripts; keys are only ever added\n"
     "      --explain RECORD-ID   which events held touch this record, and where they stand with each sink\n"
     "      --sink NAME           with --explain: this sink alone"},
    {"health", "ask the daemon whether it is ready: exit 0 or 4", cli_health,
     "[options]\n\nFor container health checks: asks /readyz."},
    {"schema", "print the Avro schema of a topic or id", cli_schema,
     "TOPIC|ID [options]\n\n      --org NAME            with several orgs: which one to ask"},
    {"topics", "list what is subscribed and what the org says about it", cli_topics,
     "[options]\n\n      --json"},
    {"replay", "recovery: read a subscription again from a position", cli_replay,
     "--subscription NAME | --sink NAME --from POSITION [options]\n\n"
     "--subscription: asks the service again. --sink: delivers again to one sink what the journal holds.\n"
     "Raises the generation of that subscription or sink: events from there on are delivered once more, "
     "marked \"replay\":N.\n"
     "Works with the daemon up (at once) or down (at its next start). The same order within five minutes is "
     "one.\n\n"
     "      --from POSITION       a replay id (what comes after it), earliest, latest, a time\n"
     "                            (2026-05-06T14:30:00Z, by commit time, inclusive) or an age (-2h)\n"
     "      --dry-run             say what would be read again, and change nothing"},
    {"login", "log in now, after refused credentials were mended", cli_login,
     "[ORG] [options]\n\n"
     "Refused logins are followed by pauses, which outlive a restart, so that no account gets locked. This "
     "ends the pause:\n"
     "the daemon tries at once (exit 0: logged in, 4: refused again), or at its next start when it is down."},
    {"incidents", "what may have lost data, and what was done about it", cli_incidents,
     "list [--all] [--json] | close ID [--note TEXT]\n\n"
     "close records that a person has dealt with it: who, when, and the note. Daemon up or down.\n\n"
     "      --all                 closed ones, too: every replay that was ordered is among them\n"
     "      --json                one JSON object per line"},
    {"dlq", "dead letters: look at what could not be delivered, try it again, give it up", cli_dlq,
     "list [--sink NAME] [--reason CLASS] [--json] | show SINK SEQ [--json] | export [--sink NAME] [--reason CLASS]\n"
     "                     | retry|drop SINK SEQ… | retry|drop [--sink NAME] --reason CLASS|--all [--dry-run]\n\n"
     "export: whole, one JSON object per line, the payload as base64. retry: the daemon delivers them again, marked as\n"
     "late; a mirror keeps what is newer. drop: they are given up for good.\n\n"
     "      --sink NAME           those of one sink\n"
     "      --reason CLASS        those of one class, as list shows it: rejected, mapping, undecodable …\n"
     "      --all                 retry, drop: every one\n"
     "      --dry-run             retry, drop: say which, and change nothing\n"
     "      --json                one JSON object per line"},
    {"backup", "a compact copy of the store, daemon up or down", cli_backup,
     "DIR [options]\n\nDIR does not exist or is empty. The copy is one moment of the store, and appears when "
     "it is whole."},
    {"restore", "put a backup in the place of the store", cli_restore,
     "DIR [--force] [options]\n\n"
     "With the daemon stopped. The restored store gets a new id and an incident; what came after the backup "
     "is read\n"
     "again from the service.\n\n"
     "      --force               replace the store that is there; it is kept aside"},
    {"sink", "accept a rotated or foreign file; drop a sink that is gone", cli_sink,
     "reset NAME | forget NAME\n\n"
     "With the daemon stopped. reset: the sink takes its file as it is and goes on at its end with the next "
     "event.\n"
     "forget: drops the cursor of a sink that left the configuration."},
};

static void print_commands(FILE *to)
{
    fputs("usage: tidemark COMMAND [options]\n\n", to);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\n'tidemark COMMAND --help' says more. Exit codes: 0 done, 2 usage or configuration, 3 store, 4 "
          "source,\n"
          "5 sink, 6 internal error, 130/143 stopped by a signal before the work was finished.\n",
          to);
}

static int unknown_command(const char *name)
{
    const char *names[ARRAY_LEN(commands)];
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        names[i] = commands[i].name;
    const char *nearest = text_nearest(name, names, ARRAY_LEN(names));
    fprintf(stderr, "tidemark: unknown command '%s'", name);
    if (nearest)
        fprintf(stderr, " (did you mean '%s'?)", nearest);
    fputs("\nTry 'tidemark --help'.\n", stderr);
    return EXIT_USAGE;
}

/*
 * A few threads that pass memory on to each other do best with one heap: measured at full load, it holds 20 MiB
 * instead of 27, and costs no time. What a burst has taken goes back.
 */
static void set_up_heap(void)
{
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_TRIM_THRESHOLD, 256 * 1024);
}

int main(int argc, char **argv)
{
    set_up_heap();
    secret_forbid_cores();
    signal(SIGPIPE, SIG_IGN); /* a write to a reader that left is an error to handle, not to die of */
    signal(SIGXFSZ, SIG_IGN); /* likewise a file that may not grow */
    umask(0027);
    if (argc < 2) {
        print_commands(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_commands(stdout);
        return cli_finish_output(EXIT_OK);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("tidemark %s\n", TIDEMARK_VERSION);
        return cli_finish_output(EXIT_OK);
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(&commands[i], argc - 1, argv + 1);
    return unknown_command(argv[1]);
}
