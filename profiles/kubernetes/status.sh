#!/bin/sh
# The state of a job of submit.sh, in Snakemake's words. Where the cluster does not answer, it is asked again.
set -eu
state=$(kubectl get job --namespace "${NAMESPACE:-default}" "$1" \
  -o 'jsonpath={.status.conditions[?(@.status=="True")].type}') || state=unknown
case "$state" in
  *Complete*) echo success ;;
  *Failed*) echo failed ;;
  *) echo running ;;
esac
