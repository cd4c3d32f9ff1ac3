# Sourced by ci/constant_time.sh and ci/backend_agreement.sh.
#
# Copies this crate to a work directory, where single dependencies can be replaced by changed
# copies of themselves without touching a lock file of the project.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}/constant-time
work=$target/work-$(basename "$0" .sh)

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# need TOOL HOW-TO-INSTALL
need() {
    command -v "$1" >/dev/null || fail "$1 is missing: $2"
}

prepare() {
    need cargo "see https://rustup.rs"
    rm -rf "$work"
    mkdir -p "$work/constant_time"
    cp -r "$root/ci/constant_time/." "$work/constant_time"
    sed -i "s|\"\.\./\.\.|\"$root|" "$work/constant_time/Cargo.toml"
}

# changed_copy CRATE FILE SED-SCRIPT: replaces a dependency by a copy with one file changed.
changed_copy() {
    local crate=$1 file=$2 script=$3 manifest source
    manifest=$(cd "$root/ci/constant_time" && cargo metadata --locked --all-features --format-version 1 |
        grep -o "\"manifest_path\":\"[^\"]*/$crate-[0-9][0-9.]*/Cargo.toml\"" | head -n 1)
    source=$(dirname "$(cut -d '"' -f 4 <<<"$manifest")")
    [[ -f $source/$file ]] || fail "no $file in the sources of $crate"
    cp -r "$source" "$work/$crate"
    chmod -R u+w "$work/$crate"
    sed -i "$script" "$work/$crate/$file"
    ! cmp -s "$source/$file" "$work/$crate/$file" ||
        fail "$crate changed its $file: adapt the change that $(basename "$0") makes to it"
    grep -q '^\[patch.crates-io\]' "$work/constant_time/Cargo.toml" ||
        printf '\n[patch.crates-io]\n' >>"$work/constant_time/Cargo.toml"
    echo "$crate = { path = \"$work/$crate\" }" >>"$work/constant_time/Cargo.toml"
}

SOFT='--cfg aes_backend="soft" --cfg polyval_backend="soft" --cfg chacha20_backend="soft"'
SOFT+=' --cfg poly1305_backend="soft" --cfg sha2_backend="soft"'
