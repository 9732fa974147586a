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
