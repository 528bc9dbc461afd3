# shellcheck shell=bash
# What several scripts need. Sourced, at the root of the repository.

# node_packages FOLDER: installs what its lock file names, once for each lock file.
node_packages() {
    cmp -s "$1/package-lock.json" "$1/node_modules/.installed" && return
    (cd "$1" && npm ci --no-audit --no-fund) && cp "$1/package-lock.json" "$1/node_modules/.installed"
}

# For checks that take minutes: whether they have passed before with the very same files.

# One digest of all the files and folders named, without what is made or installed there.
digest() { find "$@" \( -name node_modules -o -name __pycache__ \) -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum; }

# unchanged RECORD FILES..: they passed as they are now.
unchanged() { [ -f "$1" ] && [ "$(cat "$1")" = "$(digest "${@:2}")" ]; }

# passed RECORD FILES..: notes that they did.
passed() { mkdir -p "$(dirname "$1")" && digest "${@:2}" >"$1"; }
