#!/usr/bin/env bash
# Trains a recipe on any machine that ssh reaches, in a tmux session that outlives the connection.
#
#   run_in_tmux.sh HOST RECIPE [FLAG...]   copies the project there, installs, trains; shows the log
#   run_in_tmux.sh HOST --log              shows the log of what trains there
#   run_in_tmux.sh HOST --stop             tells it to save and to end
#   run_in_tmux.sh HOST --fetch [FOLDER]   copies results and checkpoints here, into FOLDER
#
# HOST is what ssh takes, such as user@address. It needs bash, tmux and Python 3.11 to 3.13. Started
# again with the same recipe, the training goes on from its last checkpoint; results lie in
# keras_dawn/results/RECIPE there. The machine is not shut down: end it with your provider's tools.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
host=$1
recipe=$2
shift 2
session=keras_dawn
project=$(cd "$(dirname "$0")/../.." && pwd)

follow() {
    ssh "$host" 'cd keras_dawn && tail --lines=+1 --follow=name --retry --quiet log.txt' || true
}

case $recipe in
    --log)
        follow
        exit
        ;;
    --stop)
        # The recipe itself gets SIGTERM: it saves at its next step.
        ssh "$host" "tmux list-panes -s -t $session -F '#{pane_pid}' | xargs kill -TERM"
        exit
        ;;
    --fetch)
        folder=${1:-results}
        mkdir -p "$folder"
        ssh "$host" 'cd keras_dawn && tar -czf - results' | tar -xzf - -C "$folder" --strip-components=1
        echo "Copied to $folder."
        exit
        ;;
    --*)
        echo "Unknown option $recipe." >&2
        exit 2
        ;;
esac
if [ ! -f "$project/recipes/$recipe.py" ]; then
    echo "There is no recipe recipes/$recipe.py. Give the name of one without .py." >&2
    exit 2
fi
if ssh "$host" "tmux has-session -t $session" 2>/dev/null; then
    echo "Something trains on $host already: run_in_tmux.sh $host --log shows it, --stop ends it." >&2
    exit 1
fi

packed() { # the project's own files, without results, environments and caches
    cd "$project"
    if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git ls-files -z | tar --null -T - -czf -
    else
        tar --exclude='.venv' --exclude='runs' --exclude='__pycache__' --exclude='.pytest_cache' -czf - .
    fi
}
(packed) |
    ssh "$host" 'mkdir -p keras_dawn && tar -xzf - -C keras_dawn'
ssh "$host" "cd keras_dawn && { [ -x .venv/bin/python ] || python3 -m venv .venv; } &&
    .venv/bin/pip install -q -e '.[demo]'"
flags=$(printf ' %q' "$@")
ssh "$host" "cd keras_dawn && rm -f log.txt && touch log.txt &&
    tmux new-session -d -s $session $(printf %q "exec recipes/cloud/train.sh results/$recipe $recipe$flags >log.txt 2>&1")"
echo "Trains on $host in the tmux session $session. Ctrl-C ends this view, not the training."
follow
