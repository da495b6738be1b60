#!/bin/sh
# Unpack a release of Quarto into FOLDER, if it is the one that was meant: fetch-quarto.sh VERSION SHA256 FOLDER
# With neither version nor checksum FOLDER is left empty, and reports are made by the bundled renderer.
# QUARTO_RELEASES is where releases are; a mirror of it will do, for the checksum says what is right.
set -eu
version=$1 sha256=$2 folder=$3
releases=${QUARTO_RELEASES:-https://github.com/quarto-dev/quarto-cli/releases/download}

mkdir -p "$folder"
[ -n "$version$sha256" ] || exit 0
if [ -z "$version" ] || [ -z "$sha256" ]; then
  echo "QUARTO_VERSION and QUARTO_SHA256 belong together: a release without its checksum is not fetched." >&2
  exit 2
fi
archive=$(mktemp)
trap 'rm -f "$archive"' EXIT
curl --fail --silent --show-error --location --retry 3 --output "$archive" \
  "$releases/v$version/quarto-$version-linux-$(dpkg --print-architecture).tar.gz"
echo "$sha256  $archive" | sha256sum --check --quiet --strict
tar --extract --gzip --file "$archive" --directory "$folder" --strip-components 1 --no-same-owner
