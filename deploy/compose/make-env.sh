#!/bin/sh
# Writes into deploy/.env what env.example has and .env has not, secrets made up. Again after an upgrade, for new ones.
set -eu
umask 077
cd "$(dirname "$0")/.."
touch .env
while IFS= read -r line; do
  case $line in
    '' | '#'*) continue ;;
  esac
  ! grep -q "^${line%%=*}=" .env || continue
  case $line in
    *=) line=$line$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n') ;;
  esac
  printf '%s\n' "$line" >>.env
done <compose/env.example
