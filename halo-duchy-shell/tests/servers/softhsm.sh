#!/bin/bash
# usage: softhsm.sh FOLDER PIN
#
# Makes a token of SoftHSM's, with the label `duchy` and the user's PIN, in FOLDER/tokens, and FOLDER/softhsm2.conf, which
# SOFTHSM2_CONF has to name for whoever uses it. Prints one line, the path of the PKCS #11 library. Exits with 77 where
# there is no SoftHSM.
set -euo pipefail

folder=$1
pin=$2

library=${SOFTHSM2_LIBRARY:-$(compgen -G "/usr/lib/softhsm/libsofthsm2.so" || compgen -G "/usr/lib*/*/softhsm/libsofthsm2.so" || compgen -G "/usr/lib64/pkcs11/libsofthsm2.so" || true)}
library=${library%%$'\n'*}
if [[ ! -e ${library:-none} ]] || ! command -v softhsm2-util >/dev/null; then
    echo "no SoftHSM; another place of its library can be named by SOFTHSM2_LIBRARY" >&2
    exit 77
fi

mkdir -p "$folder/tokens"
printf '%s\n' "directories.tokendir = $folder/tokens" "objectstore.backend = file" "log.level = ERROR" \
    >"$folder/softhsm2.conf"
SOFTHSM2_CONF=$folder/softhsm2.conf softhsm2-util --init-token --free --label duchy --pin "$pin" --so-pin "so-$pin" >&2
echo "$library"
