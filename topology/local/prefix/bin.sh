#!/usr/bin/env bash
# bin.sh prints the bin directory of the PostgreSQL that the tests run on: the newest
# installed one with pglogical, else the newest private prefix.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
installed_bin || die "no PostgreSQL with pglogical (make deps)"
