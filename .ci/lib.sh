# Helpers of .ci/run: skips, tools, and what the machine has.

fail() {
    printf 'FAILED: %s\n' "$1" >&2
    exit 1
}

skips=() # "NAME: REASON"

# skip NAME REASON
skip() {
    skips+=("$1: $2")
    printf 'SKIPPED %s: %s\n' "$1" "$2"
}

# collect_skips LOG: takes over what tests said they skipped.
collect_skips() {
    local line
    while IFS= read -r line; do
        skips+=("$line")
    done < <(grep -aoE 'SKIPPED [a-zA-Z0-9_-]+: .*' "$1" | sed 's/^SKIPPED //' | sort -u)
}

# Prints what was skipped; fails if something was that must not be.
report_skips() {
    local entry name refused=0
    printf '\nSkipped:\n'
    ((${#skips[@]})) || printf '  nothing\n'
    while IFS= read -r entry; do
        [[ $entry ]] || continue
        name=${entry%%:*}
        if sed 's/[[:space:]]*#.*//' .ci/allowed-skips | grep -qxF -- "$name"; then
            printf '  %s\n' "$entry"
        else
            printf '  %s  <- not in .ci/allowed-skips\n' "$entry"
            refused=1
        fi
    done < <(((${#skips[@]})) && printf '%s\n' "${skips[@]}" | sort -u)
    ((refused == 0)) || fail "something was skipped that must run"
}

# Tools and servers are built once per machine, outside the clone, and not optimised: they do little here, and building
# them is what a new machine takes longest for.

# prepare_tools: starts to build all of them with what processor time nothing else wants.
prepare_tools() {
    install_packages # now, since two package managers would not wait for each other
    preparation=$(mktemp)
    setsid nice -n 19 bash -c '
        source .ci/lib.sh
        install_minio
        install_cue
        install_helm
        install_mdbook
        install_cargo_deny
        install_kubernetes' >"$preparation" 2>&1 &
    preparing=$!
    trap 'kill -- "-$preparing" 2>/dev/null || true; rm -f "$preparation"' EXIT
}

# await_tools: waits until that is done, if it was started. What could not be built is tried once more by whoever wants it.
await_tools() {
    [[ ${preparing:-} ]] || return 0
    local started=$SECONDS
    wait "$preparing" || true
    trap - EXIT
    cat "$preparation"
    rm -f "$preparation"
    unset preparing preparation
    printf 'waited %d s for tools and servers\n' $((SECONDS - started))
}

# Installs what the machine's package manager has, if that is possible.
install_packages() {
    have_openssl || true
    have_postgresql || true
    have_softhsm || true
    have_browser || true
    have_valgrind || true
    have_etcd || true
    have_promtool || true
}

install_mdbook() {
    install_tool mdbook 0.5.4 --no-default-features
}

install_cargo_deny() {
    install_tool cargo-deny 0.20.2
}

install_cue() {
    install_go_tool cuelang.org/go/cmd/cue cue "$cue_version"
}

install_helm() {
    install_go_tool helm.sh/helm/v3/cmd/helm helm "$helm_version"
}

# install_tool CRATE VERSION [FLAG...]: its path is in $tool.
install_tool() {
    local root=${XDG_CACHE_HOME:-$HOME/.cache}/halo-duchy/$1-$2
    tool=$root/bin/$1
    [[ -x $tool ]] || env -u CARGO_TARGET_DIR cargo install "$1" --version "$2" "${@:3}" --debug --locked --root "$root"
}

# build_go COMMAND ARGUMENT...: go build or install. Its compiler gets by without collecting garbage often.
build_go() {
    GOGC=400 go "$1" -gcflags='all=-N -l' "${@:2}"
}

# install_minio: builds MinIO once per machine, outside the clone, where halo-duchy-shell/tests/servers/minio.sh looks for it.
install_minio() {
    local version root
    version=$(sed -n 's/^version=//p' halo-duchy-shell/tests/servers/minio.sh)
    root=${XDG_CACHE_HOME:-$HOME/.cache}/halo-duchy/minio-$version
    [[ -x $root/bin/minio ]] && return
    command -v go >/dev/null || return
    # In a folder of its own, so that no module of the clone has a say.
    (cd / && GOBIN=$root/bin build_go install "github.com/minio/minio@$version")
}

# Whether programs can be linked with OpenSSL; installs its development files if that is possible.
have_openssl() {
    have openssl_found libssl-dev pkg-config
}

openssl_found() {
    command -v pkg-config >/dev/null && pkg-config --exists openssl
}

# Whether there is a PostgreSQL server for the tests to start; installs one if that is possible.
have_postgresql() {
    have postgresql_found postgresql
}

postgresql_found() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

# Whether there is a token in software for the tests to keep keys in; installs one if that is possible.
have_softhsm() {
    have softhsm_found softhsm2
}

softhsm_found() {
    command -v softhsm2-util >/dev/null
}

# Whether there is a valgrind for the tests to run themselves under; installs one if that is possible.
have_valgrind() {
    have valgrind_found valgrind
}

valgrind_found() {
    command -v valgrind >/dev/null
}

# Whether there is an etcd for kube-apiserver to keep its objects in; installs one if that is possible.
have_etcd() {
    have etcd_found etcd-server
}

etcd_found() {
    command -v etcd >/dev/null
}

# Whether there is Prometheus' tool, to try the alerts with.
have_promtool() {
    have promtool_found prometheus
}

promtool_found() {
    command -v promtool >/dev/null
}

# have CONDITION PACKAGE...: whether the condition holds, if need be after installing packages where that is possible.
have() {
    "$1" && return
    if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends "${@:2}" || true
    fi
    "$1"
}

# Whether there is a browser for the tests to look at pages with; installs one if that is possible.
have_browser() {
    have browser_found chromium
}

browser_found() {
    command -v chromium || command -v chromium-browser || command -v google-chrome
} >/dev/null

# features_of CARGO_TOML: the names in its [features] table, but for `default`.
features_of() {
    awk -F'[ =]' '/^\[/ { inside = /^\[features\]/; next } inside && /^[a-z]/ && $1 != "default" { print $1 }' "$1"
}

# separating_sets: reads names, prints sets of them, one a line, with commas. Each name is in half of six sets, and in no two
# of them alike.
separating_sets() {
    awk '
        function ones(number) { return number ? number % 2 + ones(int(number / 2)) : 0 }
        {
            do code++; while (ones(code) != 3)
            for (bit = 0; bit < 6; bit++)
                if (int(code / 2 ^ bit) % 2) sets[bit] = sets[bit] (sets[bit] ? "," : "") $0
        }
        END { for (bit = 0; bit < 6; bit++) if (sets[bit]) print sets[bit] }
    ' | sort -u
}

readonly kubernetes_version=1.35.4 cue_version=0.17.1 helm_version=3.22.0

# find_go_tool NAME VERSION: prints the path of a tool: the one that a variable of its name (CUE, HELM) names, or the one
# that install_go_tool installed. Fails if there is none.
find_go_tool() {
    local variable=${1^^}
    local path=${!variable:-${XDG_CACHE_HOME:-$HOME/.cache}/halo-duchy/$1-$2/bin/$1}
    [[ -x $path ]] && printf '%s\n' "$path"
}

# install_go_tool PACKAGE NAME VERSION: installs a tool of the Go proxy once per machine, outside the clone; its path is in
# $tool.
install_go_tool() {
    tool=$(find_go_tool "$2" "$3") && return
    local root=${XDG_CACHE_HOME:-$HOME/.cache}/halo-duchy/$2-$3
    command -v go >/dev/null && GOBIN=$root/bin build_go install "$1@v$3" && tool=$(find_go_tool "$2" "$3")
}

# Builds kube-apiserver and kube-controller-manager once per machine, from Kubernetes' module at the Go proxy (minutes),
# and installs etcd, for tests/servers/kubernetes.sh.
install_kubernetes() {
    local folder=${XDG_CACHE_HOME:-$HOME/.cache}/halo-duchy/kube-$kubernetes_version
    have_etcd || return
    [[ -x $folder/kube-apiserver && -x $folder/kube-controller-manager ]] && return
    command -v go >/dev/null && (build_kubernetes "$folder")
}

# build_kubernetes FOLDER: in a subshell.
build_kubernetes() {
    set -euo pipefail
    local version=v$kubernetes_version module command
    work=$(mktemp -d) # not local: the trap needs it when the function is over
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    module=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
    {
        echo "module local/kubernetes"
        grep -E '^go ' "$module"
        echo "require k8s.io/kubernetes $version"
        # Its libraries are in its own tree under one version, and published under another.
        grep -oE 'k8s.io/[a-z0-9-]+ => ./staging' "$module" \
            | awk -v version="v0.${kubernetes_version#1.}" '{ print "replace " $1 " => " $1 " " version }'
    } >go.mod
    printf '//go:build tools\n\npackage tools\n\nimport (\n\t_ "k8s.io/kubernetes/cmd/kube-apiserver"\n\t_ "k8s.io/kubernetes/cmd/kube-controller-manager"\n)\n' >tools.go
    go mod tidy
    for command in kube-apiserver kube-controller-manager; do
        CGO_ENABLED=0 build_go build -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version" \
            -o "build/$command" "k8s.io/kubernetes/cmd/$command"
    done
    mkdir -p "$1"
    mv build/* "$1"
}

# install_root FOLDER PROGRAM: makes FOLDER the root of a container: the program, what a runtime adds, and a folder to write
# to.
install_root() {
    mkdir "$1"/{data,dev,etc}
    cp "$2" "$1/halo-duchy"
    echo "127.0.0.1 localhost" >"$1/etc/hosts"
    touch "$1"/dev/{null,random,urandom}
    chown 65532:65532 "$1/data"
    chmod 755 "$1"
}

# run_in_root FOLDER ARGUMENT...: runs the program there as a container runs it.
run_in_root() {
    unshare --mount bash -euc '
        root=$1
        shift
        mount --bind "$root" "$root"
        for device in null random urandom; do
            mount --bind "/dev/$device" "$root/dev/$device"
        done
        mount --bind "$root/data" "$root/data"
        mount -o remount,ro,bind "$root"
        exec env --ignore-environment PATH="$PATH" TMPDIR=/data chroot --userspec=65532:65532 "$root" /halo-duchy "$@"
    ' run_in_root "$@"
}
