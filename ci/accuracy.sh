#!/usr/bin/env bash
# Convert a model, compare the run with the committed baseline, and put what CI keeps in a folder.
#
#   bash ci/accuracy.sh [options of `pipeline run`, such as --data FOLDER or --set KEY=VALUE]
#
# Variables, with their defaults:
#   CONFIG=configs/inception_v4_digits.yaml   the recipe
#   TARGETS="sl1680 sl1640"                   the targets, one after another; they share the stages
#   OUT=artifacts/accuracy                    the folder: table.md, and for each target report.json,
#                                             model.synap, junit.xml, run.txt, gate.txt
#   ARTIFACTS=artifacts                       results and store of `pipeline run`
#   BASELINE=configs/baselines/<recipe>.json  what to compare with
#   GATE_ARGS=                                further options of `pipeline gate`
#   ACCEPT=                                   1: make these runs the baseline instead
#   PYTHON=.venv/bin/python                   `make setup` makes it
#
# Exit: the worst of all runs and comparisons. 0 well; 1 a check failed or something is worse than
# in the baseline; 2 recipe or options are wrong, or unlike things were to be compared; 3 something
# is missing or could not be carried out.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 3

config=${CONFIG:-configs/inception_v4_digits.yaml}
out=${OUT:-artifacts/accuracy}
artifacts=${ARTIFACTS:-artifacts}
python=${PYTHON:-.venv/bin/python}
recipe=$(basename "$config" .yaml)
baseline=${BASELINE:-configs/baselines/$recipe.json}
read -ra targets <<< "${TARGETS:-sl1680 sl1640}"
read -ra gate_args <<< "${GATE_ARGS:-}"

if ! command -v "$python" > /dev/null; then
  echo "error: there is no $python; run \`make setup\`, or give PYTHON=" >&2
  exit 3
fi

worst=0
note_code() { if (($1 > worst)); then worst=$1; fi; }

# What has no table: why, indented, so that nothing in it is markup. $1: target, $2: text file.
explain() {
  local text
  text=$(printf '### ⚠️ %s for %s: no comparison\n\n' "$recipe" "$1"; sed 's/^/    /' "$2")
  printf '%s\n\n' "$text" >> "$out/table.md"
  if [[ -n ${GITHUB_STEP_SUMMARY:-} ]]; then printf '%s\n\n' "$text" >> "$GITHUB_STEP_SUMMARY"; fi
}

mkdir -p "$out" || exit 3
: > "$out/table.md" || exit 3
for target in "${targets[@]}"; do
  made=$artifacts/$recipe/$target
  kept=$out/$target
  mkdir -p "$kept" || exit 3
  # What an earlier call left must not be taken for this one's.
  rm -f "$made/report.json" "$kept"/{report.json,model.synap,junit.xml,table.md,run.txt,gate.txt}

  echo "== $recipe for $target"
  "$python" -m pipeline run "$config" --target "$target" --artifacts "$artifacts" "$@" \
    2>&1 | tee "$kept/run.txt"
  code=${PIPESTATUS[0]}
  note_code "$code"
  if [[ ! -f $made/report.json ]]; then
    explain "$target" "$kept/run.txt"
    if ((code == 0)); then
      echo "error: the run wrote no $made/report.json" >&2
      note_code 3
    fi
    continue
  fi
  cp "$made/report.json" "$kept/" || exit 3
  if [[ -f $made/model.synap ]]; then cp "$made/model.synap" "$kept/" || exit 3; fi

  accept=()
  if [[ ${ACCEPT:-} == 1 ]]; then
    if ((code != 0)); then
      echo "error: not accepted, because the run did not pass" | tee "$kept/gate.txt" >&2
      explain "$target" "$kept/gate.txt"
      continue
    fi
    accept=(--accept)
  fi
  "$python" -m pipeline gate "$kept/report.json" --baseline "$baseline" \
    --junit "$kept/junit.xml" --markdown "$kept/table.md" \
    ${accept[@]+"${accept[@]}"} ${gate_args[@]+"${gate_args[@]}"} \
    2>&1 | tee "$kept/gate.txt"
  note_code "${PIPESTATUS[0]}"
  if [[ -f $kept/table.md ]]; then
    cat "$kept/table.md" >> "$out/table.md"
    echo >> "$out/table.md"
  else
    explain "$target" "$kept/gate.txt"
  fi
done
exit "$worst"
