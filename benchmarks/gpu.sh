#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: installs what is missing, checks the network on the card, and measures it. The tables
# go to benchmarks/results/. It is meant to take less than eight minutes; nobody has run it yet (docs/gpu.md).
#
#     benchmarks/gpu.sh [folder of the golden files]
set -euo pipefail
cd "$(dirname "$0")/.."
golden=${1:-../shared/golden}
python=${PYTHON:-python3}

if ! "$python" -c 'import av, cv2, numba, torch, torchvision, tqdm, triton' 2>/dev/null; then
    "$python" -m venv --system-site-packages .venv/gpu
    python=.venv/gpu/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check -r requirements.txt
fi
"$python" -c 'import torch; assert torch.cuda.is_available(), "PyTorch finds no GPU"; print(torch.cuda.get_device_name())'

# run SECONDS SCRIPT ...: what takes longer, or lies beyond the eight minutes, is stopped, and can be run by itself.
run() {
    local left=$((475 - SECONDS))
    if [ "$left" -lt 1 ] || ! timeout $((left < $1 ? left : $1)) "$python" "${@:2}"; then
        echo "failed, or no time left: ${*:2}" >&2
        failed=1
    fi
}
failed=0

if [ -f "$golden/model.npz" ]; then
    run 90 benchmarks/gpu.py --golden="$golden"
else
    run 90 benchmarks/gpu.py
fi
for batch in 1 4 16; do
    for precision in float32 tf32 bf16; do
        run 40 benchmarks/model.py --device=cuda --precision=$precision --batch=$batch --frames=5 --repeats=3
    done
done
run 50 benchmarks/model.py --device=cuda --repeats=3
for rows in 512 1024; do
    run 40 benchmarks/optical_flow.py raft_large $rows
done
run 60 benchmarks/end_to_end.py data/videos/sample.mp4 --rows=512 --repeats=1
exit $failed
