#!/bin/sh
# An action without compiling: the finding comes as JSON on standard input, the
# exit code is the outcome. This one keeps findings in a file.
#
#   then: [{exec: /usr/local/lib/sockwarden/remember.sh, timeout: 5s}]
set -eu
# Every user must be able to look into this directory: the switch of pause is there.
mkdir -p -m 755 /run/sockwarden
umask 077
cat >> /run/sockwarden/findings.jsonl
echo remembered
