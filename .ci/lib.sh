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

# install_tool CRATE VERSION: installs a cargo tool once per machine, outside the clone; its path is in $tool.
install_tool() {
    local root=${XDG_CACHE_HOME:-$HOME/.cache}/halo-duchy/$1-$2
    tool=$root/bin/$1
    [[ -x $tool ]] || env -u CARGO_TARGET_DIR cargo install "$1" --version "$2" --locked --root "$root"
}

# install_minio: builds MinIO once per machine, outside the clone, where halo-duchy-shell/tests/servers/minio.sh looks for it.
install_minio() {
    local version root
    version=$(sed -n 's/^version=//p' halo-duchy-shell/tests/servers/minio.sh)
    root=${XDG_CACHE_HOME:-$HOME/.cache}/halo-duchy/minio-$version
    [[ -x $root/bin/minio ]] && return
    command -v go >/dev/null || return
    # In a folder of its own, so that no module of the clone has a say.
    (cd / && GOBIN=$root/bin nice go install "github.com/minio/minio@$version")
}

# Whether programs can be linked with OpenSSL; installs its development files if that is possible.
have_openssl() {
    openssl_found && return
    if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends libssl-dev pkg-config || true
    fi
    openssl_found
}

openssl_found() {
    command -v pkg-config >/dev/null && pkg-config --exists openssl
}

# Whether there is a PostgreSQL server for the tests to start; installs one if that is possible.
have_postgresql() {
    postgresql_found && return
    if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql || true
    fi
    postgresql_found
}

postgresql_found() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

# features_of CARGO_TOML: the names in its [features] table, but for `default`.
features_of() {
    awk -F'[ =]' '/^\[/ { inside = /^\[features\]/; next } inside && /^[a-z]/ && $1 != "default" { print $1 }' "$1"
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
    command -v go >/dev/null && GOBIN=$root/bin go install "$1@v$3" && tool=$(find_go_tool "$2" "$3")
}

# Builds kube-apiserver and kube-controller-manager once per machine, from Kubernetes' module at the Go proxy (15 minutes),
# and installs etcd, for tests/servers/kubernetes.sh.
install_kubernetes() {
    local folder=${XDG_CACHE_HOME:-$HOME/.cache}/halo-duchy/kube-$kubernetes_version
    if ! command -v etcd >/dev/null && [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends etcd-server || true
    fi
    command -v etcd >/dev/null || return 1
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
        CGO_ENABLED=0 go build -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version" \
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
