#!/usr/bin/env bash
# The main job, unattended: set-up, data, pretrain, frozen, scratch, eval of each, gate; then the gate on later windows,
# the promotion that it allows, and the events of the latest year on a chart; beside all that, unfrozen.
# A second run goes on from what is done. DEVICE (default auto) and SEED (default 17) come from outside.
set -euo pipefail
cd "$(dirname "$0")"
DEVICE=${DEVICE:-auto}
SEED=${SEED:-17}
labelled=data/processed/labeled/train_latest.parquet
data=data/processed/labeled/train_latest_relative.parquet
later=data/processed/labeled/later.parquet
bars=data/raw/eurusd_1h_2007_2018.parquet
latest=data/raw/eurusd_1h_2018.parquet
unlabelled=data/processed/unlabeled/windows.parquet
split=data/splits/fwd_chain_v3.json
encoder=artifacts/encoders/pretrained/bilstm_mae_11d_v1.pt
stages=artifacts/stages
promoted=artifacts/models/supervised/enhanced_baseline_v2_relative.pt
events=artifacts/scans/latest_year.parquet
page=artifacts/scans/latest_year.html

scripts/setup.sh
venv=$(scripts/venv.sh)
export PATH="$PWD/$venv/bin:$PATH"
mkdir -p "$stages"
begun=$SECONDS
version=$(moola --version)

# Options that commands take from the environment and from moola.toml.
from_outside() {
    env | grep '^MOOLA_' | sort || true
    [ ! -f moola.toml ] || cat moola.toml
}

# stage NAME "INPUT FILES" COMMAND...: run a command unless it is done with these very inputs. A stage
# is done when its stamp holds the hash of its command, its inputs, options from outside and the version of moola.
stage() {
    local name=$1 inputs=$2 key from=$SECONDS
    shift 2
    # shellcheck disable=SC2086
    key=$({ echo "$@"; echo "$version"; from_outside; cat $inputs; } | sha256sum | cut -d' ' -f1)
    if [ -f "$stages/$name.key" ] && [ "$(cat "$stages/$name.key")" = "$key" ] && still_there "$name"; then
        echo "== $name: done before"
        return
    fi
    echo "== $name"
    rm -f "$stages/$name.key"
    "$@" | tee "$stages/$name.out"
    echo "$key" >"$stages/$name.key"
    echo "== $name: $((SECONDS - from)) s"
}

# beside NAME ARGUMENTS...: a stage on the other core, each of one thread; its output is held until `joined NAME`.
beside() {
    # A process group of its own, so that all of it can be ended.
    set -m
    stage "$@" >"$stages/$1.held" 2>&1 &
    set +m
    others[$1]=$!
}
declare -A others=()
trap 'for pid in "${others[@]}"; do kill -- "-$pid" 2>/dev/null || true; done' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

joined() {
    local code=0
    wait "${others[$1]}" || code=$?
    unset "others[$1]"
    cat "$stages/$1.held"
    return "$code"
}

run_of() { tail -n 1 "$stages/$1.out"; }

still_there() {
    case $1 in
        pretrain) [ -f "$encoder" ] ;;
        frozen | unfrozen | scratch) [ -f "artifacts/runs/$(run_of "$1")/manifest.json" ] ;;
        scan) [ -f "$events" ] && [ -f "$page" ] ;;
        eval-*) [ -f "artifacts/metrics/${1#eval-}.json" ] && [ -f "artifacts/plots/reliability_${1#eval-}.png" ] ;;
        *) true ;;
    esac
}

if [ ! -f "$labelled" ] && [ ! -f "$data" ]; then
    echo "== sample: data/ has no labelled windows"
    moola sample
fi
[ -f "$data" ] || moola convert --input "$labelled" --output "$data"
[ -f "$split" ] || moola split --data "$data" --output "$split"
# The sample's bars, else the unlabelled windows, else the labelled ones without their labels.
seen=$bars
[ -f "$seen" ] || seen=data/raw/eurusd_1h_2017.parquet
[ -f "$seen" ] || seen=$unlabelled
[ -f "$seen" ] || seen=$data

beside scratch "$data $split" moola train --model enhanced_simple_lstm --data "$data" --split "$split" \
    --input-dim 11 --epochs 40 --augment-data true --device "$DEVICE" --seed "$SEED" --save-run true
# It goes on from the encoder that comes with moola, on a few windows of these bars: from nothing it takes minutes.
stage pretrain "$seen $split" moola pretrain-bilstm \
    --input "$seen" --stride 40 --split "$split" --input-dim 11 --mask-ratio 0.15 --mask-strategy patch \
    --start-from base --epochs 1 --epoch-windows 400 --device "$DEVICE" --output "$encoder" --seed "$SEED"
stage frozen "$data $split $encoder" moola train --model enhanced_simple_lstm --data "$data" --split "$split" \
    --pretrained-encoder "$encoder" --freeze-encoder --input-dim 11 \
    --device "$DEVICE" --seed "$SEED" --save-run true
beside unfrozen "$data $split $encoder" moola train --model enhanced_simple_lstm --data "$data" --split "$split" \
    --pretrained-encoder "$encoder" --no-freeze-encoder --input-dim 11 --epochs 4 --augment-data true \
    --device "$DEVICE" --seed "$SEED" --save-run true
joined scratch

evaluated() {
    local run
    run=artifacts/runs/$(run_of "$1")
    stage "eval-$1" "$run/manifest.json" moola eval --run "$run" \
        --metrics pr_auc brier ece accuracy f1_macro f1_per_class --event-metrics hit_at_pm3 lead_lag pointer_f1 \
        --save-reliability-plot "artifacts/plots/reliability_$1.png" \
        --save-metrics "artifacts/metrics/$1.json"
}
evaluated frozen
evaluated scratch

run=artifacts/runs/$(run_of frozen)
baseline=artifacts/runs/$(run_of scratch)
# A model is no baseline of itself: once it is promoted, the run is compared with the scratch run again.
if [ -f "$promoted" ] && ! cmp -s "$promoted" "$run/model.pkl"; then
    baseline=$promoted
fi

# gated NAME ARGUMENTS...: a gate; 4 is a verdict (inconclusive or hold), anything else above 0 is a failure.
gated() {
    local name=$1 code=0
    shift
    echo "== $name"
    moola gate --run "$run" --baseline "$baseline" "$@" | tee "$stages/$name.out" || code=$?
    [ "$code" = 0 ] || [ "$code" = 4 ] || exit "$code"
}
decided=gate
gated gate
over_later=()
if [ -f "$later" ]; then
    # Labelled windows that came later, which nothing has learned from: enough of them to decide.
    decided=gate-later
    over_later=(--data "$later")
    gated gate-later "${over_later[@]}"
fi
promote=(moola promote --run "$run" --baseline "$baseline" "${over_later[@]}")
word=$(grep -o '^Verdict: [a-z]*' "$stages/$decided.out")

# The copy into use is atomic, keeps the model before it and is told in a log.
if cmp -s "$promoted" "$run/model.pkl"; then
    echo "== promote: in use already ($promoted)"
elif [ "$word" = "Verdict: promote" ] && [ -f "$later" ]; then
    echo "== promote: cp $run/model.pkl $promoted"
    "${promote[@]}" | grep -E '^(Promoted|Verdict)'
else
    echo "== promote: not done, for the verdict is ${word#Verdict: }"
fi

if [ -f "$latest" ]; then
    model=$run/model.pkl
    [ ! -f "$promoted" ] || model=$promoted
    stage scan "$model $latest" moola scan --model "$model" --bars "$latest" --stride 10 \
        --output "$events" --overview "$page" --device "$DEVICE"
fi
joined unfrozen
evaluated unfrozen
echo "== done in $((SECONDS - begun)) s after set-up"
grep '^Verdict:' "$stages/$decided.out"
printf -v line '%q ' "$venv/bin/moola" "${promote[@]:1}"
case $word in
    "Verdict: promote") echo "To promote: $line" ;;
    "Verdict: inconclusive") echo "To promote all the same: $line--accept inconclusive" ;;
    *) echo "To promote, once the gate no longer says hold: $line" ;;
esac
[ ! -f "$page" ] || echo "Events of the latest year on a chart: $PWD/$page"
