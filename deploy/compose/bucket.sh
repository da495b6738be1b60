#!/bin/sh
# Makes the bucket where there is none. Arguments are weed shell's: where master and filer are.
set -eu
if echo s3.bucket.list | weed shell "$@" | grep -q "^ *$S3_BUCKET[[:space:]]"; then
  echo "there is a bucket $S3_BUCKET"
else
  echo "s3.bucket.create -name $S3_BUCKET" | weed shell "$@"
fi
