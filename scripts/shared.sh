# shellcheck shell=bash
# Functions of several scripts. Sourced at the root of the repository.

# node_packages FOLDER: installs the packages of its lock file, once for each version of that file.
node_packages() {
    cmp -s "$1/package-lock.json" "$1/node_modules/.installed" && return
    (cd "$1" && npm ci --no-audit --no-fund) && cp "$1/package-lock.json" "$1/node_modules/.installed"
}

# For checks that take minutes: whether they have passed before with the same files.

# One digest of the given files and folders, without installed packages and caches.
digest() { find "$@" \( -name node_modules -o -name __pycache__ \) -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum; }

# unchanged RECORD FILES..: whether the check passed with these files.
unchanged() { [ -f "$1" ] && [ "$(cat "$1")" = "$(digest "${@:2}")" ]; }

# passed RECORD FILES..: records that the check passed.
passed() { mkdir -p "$(dirname "$1")" && digest "${@:2}" >"$1"; }
