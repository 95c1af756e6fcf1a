"""What end-to-end suites share: programs started and ended, a workspace, the verdict on an output file.

    waiting    wait for a condition, with a deadline
    place      where the built programs are, how slow this build is
    programs   one started program: its output, its end
    org        tidemark-sim, and what it has published (the ledger)
    daemon     tidemark: configuration, run, commands, status
    verdict    each published event exactly once and in order; the accounts add up

A suite is a unittest module that ends with `tap_print.main()`.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "harness"))
