#!/bin/bash
# usage: kubernetes.sh FOLDER ETCD_PORT ETCD_PEER_PORT API_PORT
#
# Runs etcd on the loopback interface, and what else is asked for on standard input, for as long as that is open. A line is
# a command, after which `done` is printed: `api` starts kube-apiserver, `no-api` ends it, `controllers` starts
# kube-controller-manager (once the API server answers). FOLDER/kubeconfig says how to reach them; FOLDER/sa.key and
# sa.pub, the keys of service accounts, must be there. No kubelet runs: Pods stay as they are until somebody changes them. Exits with 77
# if a program is missing.
set -euo pipefail

version=1.35.4
folder=$1 etcd=$2 peer=$3 api=$4
bin=${KUBERNETES_BIN:-${XDG_CACHE_HOME:-$HOME/.cache}/halo-duchy/kube-$version}
for program in "$bin/kube-apiserver" "$bin/kube-controller-manager"; do
    if [[ ! -x $program ]]; then
        echo "no $program, which \`.ci/run servers\` builds" >&2
        exit 77
    fi
done
if ! command -v etcd >/dev/null; then
    echo "no etcd, which \`.ci/run servers\` installs (Debian's package etcd-server)" >&2
    exit 77
fi

cd "$folder"
token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
echo "$token,admin,1,system:masters" >tokens.csv
cat >kubeconfig <<END
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:$api", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: "$token"}}]
contexts: [{name: x, context: {cluster: c, user: u, namespace: default}}]
current-context: x
END

trap 'kill -KILL $(jobs -p) 2>/dev/null' EXIT

etcd --data-dir etcd --unsafe-no-fsync --listen-client-urls "http://127.0.0.1:$etcd" \
    --advertise-client-urls "http://127.0.0.1:$etcd" --listen-peer-urls "http://127.0.0.1:$peer" \
    --initial-advertise-peer-urls "http://127.0.0.1:$peer" --initial-cluster "default=http://127.0.0.1:$peer" \
    >etcd.log 2>&1 </dev/null &

server=
echo done
while read -r command; do
    case $command in
        api)
            # etcd 3.4, which Debian has, lacks what the feature WatchList asks of it.
            "$bin/kube-apiserver" --etcd-servers="http://127.0.0.1:$etcd" --bind-address=127.0.0.1 \
                --advertise-address=127.0.0.1 --secure-port="$api" --cert-dir=certs --token-auth-file=tokens.csv \
                --authorization-mode=RBAC --service-account-issuer=https://localhost \
                --service-account-key-file=sa.pub --service-account-signing-key-file=sa.key \
                --service-cluster-ip-range=10.0.0.0/24 --disable-admission-plugins=ServiceAccount \
                --endpoint-reconciler-type=none --feature-gates=WatchList=false >>apiserver.log 2>&1 </dev/null &
            server=$!
            ;;
        no-api)
            kill -KILL "$server"
            wait "$server" 2>/dev/null || true
            ;;
        controllers)
            # Its defaults are for a cluster that others use too: 20 requests a second.
            "$bin/kube-controller-manager" --kubeconfig=kubeconfig --bind-address=127.0.0.1 --secure-port=0 \
                --controllers=job-controller,namespace-controller,garbage-collector-controller,ttl-after-finished-controller \
                --leader-elect=false --kube-api-qps=1000 --kube-api-burst=1000 --concurrent-job-syncs=20 \
                >controllers.log 2>&1 </dev/null &
            ;;
    esac
    echo done
done
