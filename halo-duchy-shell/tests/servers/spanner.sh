#!/bin/bash
# usage: spanner.sh [FLAG...]
#
# Runs Google's Spanner emulator for as long as standard input is open, on a free port of the loopback interface. Prints
# one line, the address (HOST:PORT), when it listens. FLAGs go to the emulator. Exits with 77 where there is none.
set -euo pipefail

emulator=${SPANNER_EMULATOR_BIN:-/usr/lib/google-cloud-sdk/bin/cloud_spanner_emulator/emulator_main}
if [[ ! -x $emulator ]]; then
    echo "no Spanner emulator ($emulator; another one can be named by SPANNER_EMULATOR_BIN)" >&2
    exit 77
fi

log=$(mktemp)
# The gateway beside it, which offers the same by REST, leaves its child behind when it is killed: the child alone does.
"$emulator" --host_port 127.0.0.1:0 "$@" >"$log" 2>&1 </dev/null &
child=$!
trap 'kill -KILL "$child" 2>/dev/null; rm -f "$log"' EXIT

address=
for _ in {1..200}; do
    address=$(sed -n 's/.*Server address: \(127\.0\.0\.1:[0-9]\+\).*/\1/p' "$log" | head -n 1)
    [[ -n $address ]] && break
    kill -0 "$child" 2>/dev/null || break
    sleep 0.05
done
if [[ -z $address ]]; then
    cat "$log" >&2
    exit 1
fi
echo "$address"

# Nothing is ever written to standard input: this waits for whoever started us to end, in whatever way.
cat >/dev/null || true
