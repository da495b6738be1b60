#!/bin/sh
# Starts SeaweedFS with one identity, which may do anything with the objects of one bucket and nothing else.
# Keys come from the environment at every start, so that changed ones replace the old.
set -eu
umask 077
cat >/tmp/s3.json <<JSON
{"identities": [{
  "name": "pipeline",
  "credentials": [{"accessKey": "$OBJECTS_ACCESS_KEY", "secretKey": "$OBJECTS_SECRET_KEY"}],
  "actions": ["Read:$S3_BUCKET", "Write:$S3_BUCKET", "List:$S3_BUCKET", "Tagging:$S3_BUCKET"]
}]}
JSON
exec weed -logtostderr=true server -s3.config=/tmp/s3.json "$@"
