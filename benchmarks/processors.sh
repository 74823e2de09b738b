#!/usr/bin/env bash
# By how much does the first run differ between processors? The main job again and again in folders of its own, with the
# instructions of older processors, in bfloat16 as newer ones train, with two threads, and with other seeds beside that.
# Usage: benchmarks/processors.sh FOLDER. Prints a table of the gate on later windows: challenger, baseline, verdict.
# Some 90 s a row on two cores; a finished row is not made again.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "${1:?name a folder to work in}"
root=$(realpath "$1")
old=(ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 OPENBLAS_CORETYPE=Nehalem MKL_CBWR=COMPATIBLE)
echo "| run | PR-AUC | Brier | ECE | verdict |"
echo "|---|---|---|---|---|"
# row "NAME" VARIABLE=VALUE...
row() {
    local name=$1 folder=$root/${1// /_}
    shift
    if [ ! -f "$folder/done" ]; then
        rm -rf "$folder"
        git clone -q "$here" "$folder"
        ln -s "$here/$("$here/scripts/venv.sh")" "$folder/.venv"
        if ! env -u PYTHONPATH "$@" "$folder/RUN_11D_TRAINING.sh" >"$folder.log" 2>&1; then
            echo "| $name | not on this machine: $(grep -m 1 '^Error' "$folder.log" | cut -d. -f1) | | | |"
            return
        fi
        touch "$folder/done"
    fi
    awk -v name="$name" '$1 ~ /^(pr_auc|brier|ece)$/ { figure[$1] = $2 " / " $3 } /^Verdict:/ { split($2, word, ":") }
        END { print "| " name " | " figure["pr_auc"] " | " figure["brier"] " | " figure["ece"] " | " word[1] " |" }' \
        "$folder/artifacts/stages/gate-later.out"
}
row "as it is" SEED=17
row "again" SEED=17
row "SSE4 alone" SEED=17 "${old[@]}"
row "in bfloat16" SEED=17 MOOLA_PRECISION=bfloat16
row "two threads" SEED=17 MOOLA_THREADS=2
row "seed 18" SEED=18
row "seed 19" SEED=19
