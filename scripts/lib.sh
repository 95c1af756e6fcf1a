# shellcheck shell=bash
# lib.sh: what scripts/test, scripts/demo and scripts/bench share. Sourced, never run.
#
# Calling order: source it, then need_packages GROUP..., then build_preset PRESET [TARGET...].

TIDEMARK_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Where the build trees go: one folder per preset.
TIDEMARK_BUILD_ROOT=${TIDEMARK_BUILD_ROOT:-$TIDEMARK_ROOT/build}
# Debian's interpreter, the one that Debian's python3-* packages belong to.
# shellcheck disable=SC2034  # used by the scripts that source this file
PYTHON=/usr/bin/python3

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$(basename "$0"): $*"
    exit 1
}

# as_root COMMAND...: as root, or through sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "needs root, or sudo, for: $*"
    fi
}

# packages_of GROUP...: the names listed in scripts/packages for these groups.
packages_of() {
    local group
    for group in "$@"; do
        awk -v group="$group" '$1 == group { print $2 }' "$TIDEMARK_ROOT/scripts/packages"
    done | sort -u
}

# need_packages GROUP...: install what is missing, and only that. Asks apt nothing when nothing is.
need_packages() {
    local missing=() name
    command -v dpkg-query >/dev/null || {
        say "no dpkg here: the packages of scripts/packages are expected to be there"
        return 0
    }
    while read -r name; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
    done < <(packages_of "$@")
    [ "${#missing[@]}" -gt 0 ] || return 0
    say "installing: ${missing[*]}"
    quietly as_root apt-get -o DPkg::Lock::Timeout=500 -qq update || die "apt-get update failed"
    quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=500 -qq install -y \
        --no-install-recommends "${missing[@]}" || die "apt-get install failed"
}

# quietly COMMAND...: its output is shown only when it fails.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 || status=$?
    [ "$status" -eq 0 ] || tail -n 40 "$log" >&2
    rm -f "$log"
    return "$status"
}

# build_dir PRESET: its build tree.
build_dir() { printf '%s/%s\n' "$TIDEMARK_BUILD_ROOT" "$1"; }

# build_preset PRESET [TARGET...]: configure when needed, then build. Silent when it succeeds; the log stays beside the tree.
build_preset() {
    local preset=$1 dir log started
    shift
    dir=$(build_dir "$preset")
    log=$dir.log
    started=$SECONDS
    mkdir -p "$TIDEMARK_BUILD_ROOT"
    {
        cmake -S "$TIDEMARK_ROOT" --preset "$preset" -B "$dir" &&
            cmake --build "$dir" --parallel "$(nproc)" ${1:+--target "$@"}
    } >"$log" 2>&1 || {
        grep -E -A12 'FAILED:|error:|CMake Error' "$log" | tail -n 60 >&2
        say "build of preset '$preset' failed; whole log: $log"
        return 1
    }
    say "built preset '$preset' in $((SECONDS - started)) s"
}
