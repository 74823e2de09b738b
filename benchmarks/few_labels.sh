#!/usr/bin/env bash
# Few labels, many judged windows: draws of 174 labels on three benchmarks, the tables of docs/benchmarks.md.
# Usage: benchmarks/few_labels.sh BENCHMARKS BARS [options of moola benchmark], e.g. --judge other-draws to choose options.
# BENCHMARKS holds <name>_train.parquet and <name>_test.parquet, BARS the bars to pretrain on. The third benchmark is made
# here where it is missing (benchmarks/make_bursts.py). Peers take part where aeon is installed (constraints-peers.txt).
# What is done is not done again; SEEDS (default "17 18 19 20 21") are those of the paired table.
set -euo pipefail
folder=${1:?name the folder of the benchmarks}
bars=${2:?name the folder of the bars}
shift 2
here=$(cd "$(dirname "$0")" && pwd)
root=artifacts/benchmark
if [ ! -d "$folder" ] || [ ! -d "$bars" ]; then
    echo "few_labels: skipped, there is no folder $folder or $bars."
    exit 0
fi
peers=""
if python -c 'import aeon' 2>/dev/null; then
    peers="quant minirocket multirocket_hydra"
fi

# judged PART NAME ...: one call of `moola benchmark`, its table and JSON kept under the part's name.
judged() {
    local part=$1 name=$2
    shift 2
    echo "== $name: $part"
    moola benchmark --train "$train" --test "$test" --positive "$positive" --bars "$bars/$from" \
        --arms "$here/arms.toml" --output "$root/$name" "$@"
    cp "$root/$name/benchmark.md" "$root/$name/$part.md"
    cp "$root/$name/benchmark.json" "$root/$name/$part.json"
}

while read -r name positive from extent; do
    train=$folder/${name}_train.parquet test=$folder/${name}_test.parquet
    if [ ! -f "$train" ]; then
        made=$root/made
        [ -f "$made/${name}_train.parquet" ] ||
            python "$here/make_bursts.py" --bars "$bars/$from" --market gbpusd_1h --output-folder "$made"
        train=$made/${name}_train.parquet test=$made/${name}_test.parquet
    fi
    floor=""
    if [ "$extent" != table ]; then
        # shellcheck disable=SC2086
        judged paired "$name" --models none frozen_one_head --against none --seeds ${SEEDS:-17 18 19 20 21} "$@"
    fi
    if [ "$extent" = all ]; then
        floor=random
        for labels in 87 44; do
            judged "labels$labels" "$name" --models none frozen --against none --labels-per-draw "$labels" "$@"
        done
    fi
    # shellcheck disable=SC2086
    judged table "$name" --models prevalence logistic summary_trees $peers none $floor frozen --against none "$@"
done <<'NAMES'
expansions_eurusd_1m retracement eurusd_1m_2017h1.parquet all
breakouts_xauusd_1h follow xauusd_1h_2006_2019.parquet paired
bursts_gbpusd_1h directional gbpusd_1h_2012_2022.parquet table
NAMES
python "$here/few_labels_page.py" --results "$root" --page "$here/../docs/benchmarks.md"
