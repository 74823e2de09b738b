#!/usr/bin/env bash
# Few labels, many judged windows: draws of 174 labels on three benchmarks, one table each (docs/benchmarks.md).
# Usage: benchmarks/few_labels.sh BENCHMARKS BARS [options of moola benchmark], e.g. --judge other-draws to choose options.
# BENCHMARKS holds <name>_train.parquet and <name>_test.parquet, BARS the bars to pretrain on. The third benchmark is made
# here where it is missing (benchmarks/make_bursts.py).
set -euo pipefail
folder=${1:?name the folder of the benchmarks}
bars=${2:?name the folder of the bars}
shift 2
here=$(cd "$(dirname "$0")" && pwd)
if [ ! -d "$folder" ] || [ ! -d "$bars" ]; then
    echo "few_labels: skipped, there is no folder $folder or $bars."
    exit 0
fi
models="prevalence logistic summary_trees none frozen unfrozen student"
while read -r name positive from; do
    train=$folder/${name}_train.parquet test=$folder/${name}_test.parquet
    if [ ! -f "$train" ]; then
        made=artifacts/benchmark/made
        [ -f "$made/${name}_train.parquet" ] ||
            python "$here/make_bursts.py" --bars "$bars/$from" --market gbpusd_1h --output-folder "$made"
        train=$made/${name}_train.parquet test=$made/${name}_test.parquet
    fi
    echo "== $name"
    # shellcheck disable=SC2086
    moola benchmark --train "$train" --test "$test" --positive "$positive" --bars "$bars/$from" --models $models \
        --against none --arms "$here/arms.toml" --output "artifacts/benchmark/$name" "$@"
done <<'NAMES'
expansions_eurusd_1m retracement eurusd_1m_2017h1.parquet
breakouts_xauusd_1h follow xauusd_1h_2006_2019.parquet
bursts_gbpusd_1h directional gbpusd_1h_2012_2022.parquet
NAMES
