#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: installs what is missing, checks the network on the card, and measures it. The tables
# go to benchmarks/results/, and gpu.md there says which parts failed. All of it is to take less than eight minutes;
# nobody has run it on a card yet (docs/gpu.md).
#
#     benchmarks/gpu.sh [folder of the golden files]
#     benchmarks/gpu.sh --rehearse [...]      the same on a CPU with tiny images, to find what is broken before
#
# PYTHON: which one; BENCHMARK_RESULTS: another folder for the tables.
set -uo pipefail
cd "$(dirname "$0")/.."
rehearse=
if [ "${1:-}" = --rehearse ]; then
    rehearse=yes
    shift
fi
golden=${1:-../shared/golden}
python=${PYTHON:-python3}
export BENCHMARK_RESULTS=${BENCHMARK_RESULTS:-$PWD/benchmarks/results}
[ -z "$rehearse" ] || export CUDA_VISIBLE_DEVICES=

stop() {
    echo "error: $*" >&2
    exit 1
}

imports='import av, cv2, matplotlib, numba, torch, torchvision, tqdm'
if ! "$python" -c "$imports" 2>/dev/null; then
    echo "installing what is missing of requirements.txt"
    if "$python" -m venv --system-site-packages .venv/gpu; then
        python=.venv/gpu/bin/python
    fi
    "$python" -m pip install --quiet --disable-pip-version-check -r requirements.txt || true
    "$python" -c "$imports" || stop "a package is missing, and pip could not install it (is there no network?):" \
        "pip install -r requirements.txt"
fi
[ -n "$rehearse" ] || "$python" -c 'import torch; torch.zeros(1, device="cuda"); print(torch.cuda.get_device_name())' ||
    stop "PyTorch finds no GPU that it can use; --rehearse needs none"

mkdir -p "$BENCHMARK_RESULTS"
table=$BENCHMARK_RESULTS/gpu.md
printf '# benchmarks/gpu.sh: its parts\n\n| part | seconds | |\n|---|---|---|\n' >"$table"
failed=0

# part SECONDS SCRIPT ...: what takes longer, or lies beyond the eight minutes, is stopped, and can be run by itself.
part() {
    local limit=$((slowness * $1)) left=$((slowness * 475 - SECONDS)) start=$SECONDS status=0 outcome=done
    shift
    [ "$left" -ge "$limit" ] || limit=$left
    echo "
== $*"
    if [ "$limit" -lt 1 ]; then
        outcome="no time left"
    else
        timeout "$limit" "$python" "$@" || status=$?
        [ "$status" = 0 ] || outcome="failed, exit code $status"
        [ "$status" != 124 ] || outcome="stopped after $limit s"
    fi
    [ "$outcome" = done ] || failed=1
    echo "| python $* | $((SECONDS - start)) | $outcome |" >>"$table"
}

tiny=() slowness=1
device=cuda batches="1 4 16" precisions="float32 tf32 bf16" raft=raft_large rows="512 1024" frames=48 video_rows=512 seconds=5
if [ -n "$rehearse" ]; then
    tiny=(--size 12 16 --hidden 2) slowness=4
    device=cpu batches=1 precisions=bf16 raft=raft_small rows=128 frames=2 video_rows=64 seconds=1
fi
golden_files=()
[ ! -f "$golden/model.npz" ] || golden_files=("--golden=$golden")

part 90 benchmarks/gpu.py --device=$device ${golden_files[@]+"${golden_files[@]}"} ${tiny[@]+"${tiny[@]}"}
for batch in $batches; do
    for precision in $precisions; do
        part 40 benchmarks/model.py --device=$device --precision=$precision --batch=$batch --frames=5 --repeats=3 \
            ${tiny[@]+"${tiny[@]}"}
    done
done
part 60 benchmarks/model.py --device=$device --repeats=3 ${tiny[@]+"${tiny[@]}"}
for height in $rows; do
    part 45 benchmarks/optical_flow.py $raft "$height" "$frames"
done
part 90 benchmarks/end_to_end.py data/videos/sample.mp4 --rows=$video_rows --seconds=$seconds --repeats=1

echo
cat "$table"
[ "$failed" = 0 ] || echo "a part failed; each can be run by itself" >&2
exit $failed
