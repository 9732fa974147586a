#!/bin/bash
# usage: postgres.sh CERTIFICATE KEY
#
# Runs a PostgreSQL server with an empty database for as long as standard input is open, on a free port of the loopback
# interface. Prints one line, its port and its directory, when it listens; the directory has its socket too. The user
# `duchy` may do everything, on the socket without a password, by TCP with the password `secret`. By TCP there is TLS for
# those who want it, with the CERTIFICATE and KEY (files in PEM). Each line on standard input stops the server as a crash
# does, and starts it again; then a line says so. Exits with 77 where there is no PostgreSQL.
set -euo pipefail

certificate=$1
key=$2

bin=${POSTGRES_BIN:-$(compgen -G "/usr/lib/postgresql/*/bin" | sort --version-sort | tail -n 1 || true)}
if [[ ! -x ${bin:-none}/initdb || ! -x $bin/postgres ]]; then
    echo "no PostgreSQL in /usr/lib/postgresql; another folder of initdb and postgres can be named by POSTGRES_BIN" >&2
    exit 77
fi

folder=$(mktemp -d)
install --mode 644 "$certificate" "$folder/certificate.pem"
install --mode 600 "$key" "$folder/key.pem"
echo secret >"$folder/password"
# PostgreSQL refuses to run as root.
as_user=()
if [[ $(id -u) == 0 ]]; then
    chown -R postgres "$folder"
    as_user=(runuser -u postgres --)
fi
cd "$folder"

child=
stop() {
    [[ -z $child ]] || kill -QUIT "$child" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap stop EXIT

"${as_user[@]}" "$bin/initdb" --pgdata data --username duchy --pwfile "$folder/password" --encoding UTF8 \
    --no-locale --auth-local trust --auth-host scram-sha-256 --no-sync >log

# A server that crashes loses nothing that it has written, and nothing here outlives the machine: only what measures
# wants the disk waited for.
settings=(-c listen_addresses=127.0.0.1 -c unix_socket_directories="$folder" -c fsync="${POSTGRES_FSYNC:-off}" -c max_connections=500
    -c ssl=on -c ssl_cert_file="$folder/certificate.pem" -c ssl_key_file="$folder/key.pem")

# What statements were run, where the server can tell. Not every package of it has that.
if [[ -e ${bin%/bin}/lib/pg_stat_statements.so ]]; then
    settings+=(-c shared_preload_libraries=pg_stat_statements)
fi

# start PORT: whether it listens there.
start() {
    # Not by runuser, which would stay between us and the server: the process to be stopped is the server itself.
    "${as_user[@]}" bash -c 'echo $$ >"$1/pid"; shift; exec "$@"' - "$folder" \
        "$bin/postgres" -D data -p "$1" "${settings[@]}" >>log 2>&1 </dev/null &
    local runner=$!
    for _ in {1..400}; do
        if "$bin/pg_isready" --quiet --host "$folder" --port "$1" --username duchy; then
            child=$(<"$folder/pid")
            return 0
        fi
        kill -0 "$runner" 2>/dev/null || return 1
        sleep 0.05
    done
    return 1
}

port=
for _ in {1..10}; do
    candidate=$((20000 + RANDOM % 12000))
    if start "$candidate"; then
        port=$candidate
        break
    fi
done
if [[ -z $port ]]; then
    cat log >&2
    exit 1
fi
echo "$port $folder"

# This waits for whoever started us to end, in whatever way.
while read -r; do
    kill -QUIT "$child"
    wait
    start "$port" || exit 1
    echo restarted
done
