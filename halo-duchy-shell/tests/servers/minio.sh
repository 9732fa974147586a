#!/bin/bash
# usage: minio.sh BUCKET...
#
# Runs MinIO, which speaks S3's protocol, on a free port of the loopback interface for as long as standard input is
# open, with the BUCKETs in a temporary folder. Prints one line, its address (HOST:PORT), when it listens. Exits with 77
# where there is none: `.ci/run servers` builds one.
set -euo pipefail

# The version that .ci/lib.sh builds.
version=v0.0.0-20260212201848-7aac2a2c5b7c
minio=${MINIO_BIN:-${XDG_CACHE_HOME:-$HOME/.cache}/halo-duchy/minio-$version/bin/minio}
if [[ ! -x $minio ]]; then
    echo "no MinIO ($minio): \`.ci/run servers\` builds it, with Go and in about 8 minutes; MINIO_BIN can name another" >&2
    exit 77
fi

folder=$(mktemp -d)
child=
trap '[[ -z $child ]] || kill -KILL "$child" 2>/dev/null; rm -rf "$folder"' EXIT
for bucket in "$@"; do
    mkdir -p "$folder/data/$bucket" # a folder made before the start is a bucket
done
# MinIO does not tell which port the system gave it: take a free one, and another if somebody is quicker.
for _ in {1..20}; do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue
    MINIO_ROOT_USER=testtest MINIO_ROOT_PASSWORD=testtest123 MINIO_BROWSER=off MINIO_UPDATE=off \
        "$minio" server --quiet --address "127.0.0.1:$port" "$folder/data" >"$folder/log" 2>&1 </dev/null &
    child=$!
    for _ in {1..400}; do
        kill -0 "$child" 2>/dev/null || break
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "127.0.0.1:$port"
            # Nothing is ever written to standard input: this waits for whoever started us to end, in whatever way.
            cat >/dev/null || true
            exit 0
        fi
        sleep 0.05
    done
    kill -KILL "$child" 2>/dev/null || true
done
tail -n 5 "$folder/log" >&2
exit 1
