#!/bin/sh
# Submits a job script to Kubernetes and prints the job's name: submit.sh RULE CORES MEMORY_MB MINUTES GPUS SCRIPT
set -eu
name="book-$1-$(od -An -N5 -tx1 /dev/urandom | tr -d ' ')"
kubectl create --namespace "${NAMESPACE:-default}" -f - >/dev/null <<MANIFEST
apiVersion: batch/v1
kind: Job
metadata: {name: $name}
spec:
  backoffLimit: 0  # Snakemake tries again, with more
  activeDeadlineSeconds: $(($4 * 60))
  ttlSecondsAfterFinished: 86400
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: job
          image: ${IMAGE:-python:3.11}  # the Python of the .venv
          workingDir: $PWD
          command: [/bin/bash, "$6"]
          env: [{name: PATH, value: "$PATH"}]
          resources:
            requests: {cpu: $2, memory: $3M}
            limits: {memory: $3M, nvidia.com/gpu: $5}
          volumeMounts: [{name: book, mountPath: "${MOUNT:-/book}"}]
      volumes: [{name: book, persistentVolumeClaim: {claimName: ${CLAIM:-book}}}]
MANIFEST
echo "$name"
