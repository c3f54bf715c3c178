#!/bin/sh
# Docker pools and their workers on a machine with Docker, nvidia-container-toolkit, and `pip install prefect-docker` beside
# this package. PREFECT_API_URL must be set. Containers find FUSE_STORE, AWS_* and other secrets in the host's /etc/fusion.env,
# which is mounted as their .env: so no key ever stands in Prefect's database.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
prefect work-pool create cpu --type docker --base-job-template "$here/pool-cpu.json" --overwrite
for pool in gpu-sample gpu-score gpu-train; do
    prefect work-pool create $pool --type docker --base-job-template "$here/pool-gpu.json" --overwrite
done
# Containers see all GPUs; the ledger, a folder of this machine that they share, gives no GPU to two programs.
install --directory --owner 1000 --mode 0700 /tmp/fuse-gpus-1000
fuse deploy
for pool in gpu-sample gpu-score gpu-train; do
    prefect worker start --pool $pool --type docker --limit 1 &
done
exec prefect worker start --pool cpu --type docker
