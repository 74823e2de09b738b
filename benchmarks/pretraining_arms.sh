#!/usr/bin/env bash
# Every pretraining arm on windows of other draws, by frozen probe and by fine-tuning, with 174, 87 and 44 labels.
# Usage: benchmarks/pretraining_arms.sh BENCHMARKS BARS [options of moola benchmark], e.g. --draws 0 1 2
set -euo pipefail
folder=${1:?name the folder of the benchmarks}
bars=${2:?name the folder of the bars}
shift 2
here=$(cd "$(dirname "$0")" && pwd)
arms="random masked_random masked_block masked_patch latent ts2vec structure moves masked_structure structure_moves all_three"
tuned=$(printf '%s_tuned ' $arms)
output=artifacts/benchmark_arms/expansions_eurusd_1m
for labels in 174 87 44; do
    # shellcheck disable=SC2086
    moola benchmark --judge other-draws --train "$folder/expansions_eurusd_1m_train.parquet" \
        --test "$folder/expansions_eurusd_1m_test.parquet" --positive retracement --bars "$bars/eurusd_1m_2017h1.parquet" \
        --arms "$here/pretraining_arms.toml" --models $arms $tuned --labels-per-draw "$labels" --output "$output" "$@"
    cp "$output/benchmark.md" "$output/labels$labels.md"
done
