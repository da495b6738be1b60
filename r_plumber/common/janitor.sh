#!/bin/sh
# Cleans up after a service, however it ended: R runs no exit code on SIGTERM, and nothing does on SIGKILL.
# Standard input is a pipe that the service holds open, so its end is the service's end.
# Usage: janitor.sh FOLDER, where FOLDER/workers holds one empty file per worker, named by its process id.
cat > /dev/null
for file in "$1"/workers/*; do
  if [ -e "$file" ]; then kill -KILL "${file##*/}"; fi
done
until rm -rf "$1"; do
  sleep 0.1
done
