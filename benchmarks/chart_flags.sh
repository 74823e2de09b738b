#!/usr/bin/env bash
# Flags on a chart: learn from marked spans, find the rest on later bars, by public commands alone.
# Usage: benchmarks/chart_flags.sh BENCH DATA
# BENCH holds chart_flags_<market>_1h.csv, DATA <market>_1h_2012_2022.parquet; what learns sees no bar from 2018 on.
# MARKETS, LABELS and SEEDS choose what is run; ENCODER names an encoder file (by default `base`). SHUFFLED=1 moves the
# spans to random places, a control that must find no more than random pieces do. PRESENCE=0 trains on windows alone.
# TRAIN, SCAN and WINDOWS hold further options of these commands. Work in a folder of its own: what is done is not done
# again.
set -euo pipefail
bench=$(realpath "${1:?name the folder of the spans}")
data=$(realpath "${2:?name the folder of the bars}")
here=$(cd "$(dirname "$0")" && pwd)
root=artifacts/chart_flags
figures=()

for market in ${MARKETS:-usdjpy audusd}; do
    for labels in ${LABELS:-100 30}; do
        name=${market}_$labels${SHUFFLED:+_shuffled}
        work=$root/$name
        mkdir -p "$work"
        [ -f "$work/judged_spans.csv" ] ||
            python "$here/chart_flags_parts.py" cut --bars "$data/${market}_1h_2012_2022.parquet" \
                --spans "$bench/chart_flags_${market}_1h.csv" --labels "$labels" --output "$work" \
                ${SHUFFLED:+--shuffled}
        # The bars name no symbol, the spans do: both are said to be of the market.
        symbol=$(tr '[:lower:]' '[:upper:]' <<<"$market")
        # shellcheck disable=SC2086
        [ -f "$work/windows.parquet" ] ||
            moola windows --bars "$work/before.parquet" --symbol "$symbol" --spans "$work/spans.csv" \
                --stretches "$work/stretch.csv" --output "$work/windows.parquet" ${WINDOWS:-}
        [ -f "$work/split.json" ] ||
            moola split --data "$work/windows.parquet" --output "$work/split.json" --test 0
        for seed in ${SEEDS:-17}; do
            if [ ! -f "$work/$seed/events.eval.json" ]; then
                mkdir -p "$work/$seed"
                presence=()
                [ "${PRESENCE:-1}" = 0 ] ||
                    presence=(--bars "$work/before.parquet" --spans "$work/spans.csv" --stretches "$work/stretch.csv")
                # shellcheck disable=SC2086
                run=$(moola train --data "$work/windows.parquet" --split "$work/split.json" --seed "$seed" \
                    --pretrained-encoder "${ENCODER:-base}" --mirror-classes bull:bear "${presence[@]}" \
                    --save-run true ${TRAIN:-} | tail -1)
                # shellcheck disable=SC2086
                moola scan --model "artifacts/runs/$run/model.pkl" --bars "$work/after.parquet" \
                    --output "$work/$seed/events.parquet" --min-prob 0 ${SCAN:-}
                moola eval --events "$work/$seed/events.parquet" --truth "$work/judged_spans.csv" \
                    --stretches "$work/judged_stretch.csv" --bars "$work/after.parquet"
            fi
            figures+=("$work/$seed/events.eval.json")
        done
    done
done
python "$here/chart_flags_parts.py" table "${figures[@]}"
