#!/usr/bin/env bash
# Few labels, many judged windows: five draws of 174 labels on two benchmarks, one table each.
# Usage: benchmarks/few_labels.sh FOLDER [options of moola benchmark], e.g. --judge other-draws to choose options.
set -euo pipefail
folder=${1:?name the folder of the benchmarks}
shift
arms=$(cd "$(dirname "$0")" && pwd)/few_labels.toml
if [ ! -d "$folder" ]; then
    echo "few_labels: skipped, there is no folder $folder."
    exit 0
fi
for pair in expansions_eurusd_1m:retracement breakouts_xauusd_1h:follow; do
    name=${pair%:*}
    echo "== $name"
    moola benchmark --train "$folder/${name}_train.parquet" --test "$folder/${name}_test.parquet" \
        --positive "${pair#*:}" --models prevalence logistic summary_trees plain mirror --against plain \
        --arms "$arms" --output "artifacts/benchmark/$name" "$@"
done
