#!/bin/sh
# Ends jobs of submit.sh.
exec kubectl delete job --namespace "${NAMESPACE:-default}" --wait=false "$@"
