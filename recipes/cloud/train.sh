#!/usr/bin/env bash
# Trains one recipe on all GPUs of this machine, from the last checkpoint in FOLDER if there is one:
#
#   train.sh FOLDER RECIPE [FLAG...]      such as  train.sh results cifar10_wrn --preset=dawnbench_1gpu
#
# Ends with 0 when the training is over, with 75 when it was told to end and has saved (start it
# again), with another code when it failed. FOLDER/checkpoints holds the checkpoints, FOLDER/log.txt
# what was printed in all starts, and each start has a FOLDER/run-TIME; that of the last is whole.
set -uo pipefail
if [ $# -lt 2 ]; then
    echo "usage: train.sh FOLDER RECIPE [FLAG...]" >&2
    exit 2
fi
mkdir -p "$1" || exit
folder=$(cd "$1" && pwd)
recipe=$2
shift 2
cd "$(dirname "$0")/../.." || exit
if [ ! -f "recipes/$recipe.py" ]; then
    echo "There is no recipe recipes/$recipe.py. Give the name of one without .py." >&2
    exit 2
fi

# The cloud that SkyPilot started this machine on is asked whether it will take it away.
case "${SKYPILOT_CLUSTER_INFO:-}" in
    *'"cloud": "AWS"'*) set -- --notice=aws "$@" ;;
    *'"cloud": "GCP"'*) set -- --notice=gcp "$@" ;;
    *'"cloud": "Azure"'*) set -- --notice=azure "$@" ;;
esac

gpus=${SKYPILOT_NUM_GPUS_PER_NODE:-$(nvidia-smi --list-gpus 2>/dev/null | wc -l)}
run=(.venv/bin/python)
if [ "$gpus" -gt 1 ]; then
    run+=(-m torch.distributed.run --standalone "--nproc-per-node=$gpus")
fi
results=$folder/run-$(date -u +%Y%m%d-%H%M%S)
touch "$folder/log.txt"
begin=$(($(wc -c <"$folder/log.txt") + 1))
"${run[@]}" "recipes/$recipe.py" "--checkpoints=$folder/checkpoints" "--output_dir=$results" "$@" \
    >>"$folder/log.txt" 2>&1 &
training=$!
tail --bytes="+$begin" --follow --pid=$training "$folder/log.txt" &
trap 'kill -TERM $training 2>/dev/null' TERM INT  # it saves, and ends by itself
wait $training
code=$?
while kill -0 $training 2>/dev/null; do  # a signal has ended the wait, not the training
    wait $training
    code=$?
done
wait
# torchrun says 1 whatever its processes said.
if [ $code -ne 0 ] && tail --bytes="+$begin" "$folder/log.txt" | grep "^Asked to stop: " >/dev/null; then
    code=75
fi
exit $code
