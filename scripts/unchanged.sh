# shellcheck shell=bash
# For scripts whose checks take minutes: whether they have passed before with the very same files. Sourced, at the root of the repository.

# One digest of all the files and folders named.
digest() { find "$@" -type f ! -name '*.pyc' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum; }

# unchanged RECORD FILES..: they passed as they are now.
unchanged() { [ -f "$1" ] && [ "$(cat "$1")" = "$(digest "${@:2}")" ]; }

# passed RECORD FILES..: notes that they did.
passed() { mkdir -p "$(dirname "$1")" && digest "${@:2}" >"$1"; }
