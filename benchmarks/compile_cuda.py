"""Compiles the programs of kernels/cuda_programs.py to machine code for NVIDIA cards, without having one, and prints
what each program needs of them.

    python benchmarks/compile_cuda.py               the paper's network, on cards of compute capability 8.0 and 9.0

A register holds 32 bits; a thread has at most 255. What does not fit is spilled to the thread's stack in memory,
which costs time: if anything is, the exit code is 1. Shared memory is that of a program: at most 163 KB (8.0) or
227 KB (9.0). The instructions are those of a warp in one pass of the loop over taps and channels; without tensor cores,
most of them should be multiply-adds (FFMA).
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import report  # noqa: E402
from kernels import cuda  # noqa: E402
from kernels.taps import GEOMETRIES  # noqa: E402

POINTERS = {torch.float32: "*fp32", torch.int32: "*i32", torch.int16: "*i16"}
PRECISIONS = {"float32": {"TYPE": tl.float32, "PRECISION": "ieee"}, "tf32": {"TYPE": tl.float32, "PRECISION": "tf32"},
              "bf16": {"TYPE": tl.bfloat16, "PRECISION": "ieee"}}
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--inputs", type=int, default=6, help="channels: 3, or 6 with optical flow")
    parser.add_argument("--hidden", type=int, default=36, help="channels of the encoder's state")
    parser.add_argument("--geometry", choices=GEOMETRIES, default="released")
    parser.add_argument("--precision", choices=PRECISIONS, nargs="+", default=list(PRECISIONS))
    parser.add_argument("--capability", type=int, nargs="+", default=(80, 90), help="times 10")
    return parser.parse_args(argv)


def source_of(program, arguments, constants):
    """What Triton compiles for a launch. As at a launch, it learns which numbers are multiples of 16."""
    signature, values, attributes = dict.fromkeys(program.arg_names, "constexpr"), dict(constants), {}
    for index, (name, argument) in enumerate(zip(program.arg_names, arguments)):
        is_tensor = isinstance(argument, torch.Tensor)
        if argument is None:
            values[name] = None
            continue
        signature[name] = POINTERS[argument.dtype] if is_tensor else "i32"
        if (argument.data_ptr() if is_tensor else argument) % 16 == 0:
            attributes[index,] = [["tt.divisibility", 16]]
    return ASTSource(program, signature, values, attributes)


def step(options, training):
    """A step of the network, of which `cuda.launch` starts every program: encoder, pooling, decoder."""
    H, W = options.size

    def images(channels, height=H, width=W):
        return torch.zeros(1, channels, height, width, requires_grad=training)

    def cell(channels, hidden_dim):
        shapes = (4 * hidden_dim, channels + hidden_dim, 3, 3), (4 * hidden_dim,)
        return [torch.zeros(shape, requires_grad=training) for shape in shapes]

    frame = torch.zeros(1, options.inputs, H, W)
    hidden, state = cuda.lstm_step(frame, images(options.hidden), images(options.hidden),
                                   *cell(options.inputs, options.hidden), options.geometry)
    pooled = cuda.max_pool(hidden, 2, options.geometry)
    one = [images(1, *pooled.shape[2:]) for _ in range(2)]
    maps, _ = cuda.lstm_step(pooled, *one, *cell(options.hidden, 1), options.geometry)
    if training:
        (maps.sum() + state.sum()).backward()


def launches(options, precision):
    """[(program's name, `ASTSource`, options of the compiler)] of a prediction and of a training step, each once.
    Nothing is computed: a stand-in for Triton's launcher writes down what it is asked for."""
    found = {}

    class Recorded:
        def __init__(self, program):
            self.program = program

        def __getitem__(self, grid):
            return self.write_down

        def write_down(self, *arguments, num_warps, num_stages, **constants):
            source = source_of(self.program, arguments, constants)
            parts = [f"{key.lower()} {constants[key]}" for key in ("X", "OUTPUTS", "BLOCK", "REST") if key in constants]
            kept = ", for training" if "gates" in self.program.arg_names[:3] and arguments[2] is not None else ""
            options = {"num_warps": num_warps, "num_stages": num_stages}
            found[source.hash()] = f"{self.program.__name__} ({', '.join(parts)}{kept})", source, options

    launch, cuda.precision = cuda.launch, lambda: PRECISIONS[precision]
    cuda.launch = lambda program, *arguments, **constants: launch(Recorded(program), *arguments, **constants)
    for training in (False, True):
        step(options, training)
    cuda.launch = launch
    return list(found.values())


def resources(cubin):
    """(registers of a thread, bytes of its stack, to which registers are spilled; the instructions of the longest loop,
    and how many of these are multiply-adds)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "program.cubin")
        path.write_bytes(cubin)
        usage, code = (subprocess.run([CUOBJDUMP, option, path], capture_output=True, text=True, check=True).stdout
                       for option in ("-res-usage", "-sass"))
    loop = longest_loop(code)
    return *(max(map(int, re.findall(rf"\b{key}:(\d+)", usage))) for key in ("REG", "STACK")), len(loop), sum(
        "FFMA" in instruction for instruction in loop)


def longest_loop(code):
    """The instructions between the branch that leads furthest back and where it leads. code: what cuobjdump prints."""
    found = [(int(address, 16), instruction)
             for address, instruction in re.findall(r"/\*([0-9a-f]{4,8})\*/\s+(.*?);", code)]
    backward = [(int(target.group(1), 16), address) for address, instruction in found
                if "BRA" in instruction and (target := re.search(r"0x([0-9a-f]+)", instruction))]
    start, stop = max(backward, key=lambda loop: loop[1] - loop[0])
    return [instruction for address, instruction in found if start <= address <= stop]


def main(argv):
    options = parse(argv)
    with report.written("compile_cuda", argv, None) as line:
        line(f"triton {triton.__version__}, {options.geometry}, {options.size[0]} x {options.size[1]}\n\n"
             "| program | precision | capability | warps | registers | spilled, bytes | shared memory, bytes "
             "| instructions of its loop | FFMA |\n|---|---|---|---|---|---|---|---|---|")
        return 1 if write_rows(options, line) else 0


def write_rows(options, line):
    """Writes a row for each program. Returns whether one spills."""
    done, spilled = set(), False
    for precision in options.precision:
        for name, source, compiler in launches(options, precision):
            if source.hash() in done:  # it computes no products
                continue
            done.add(source.hash())
            for capability in options.capability:
                compiled = triton.compile(source, GPUTarget("cuda", capability, 32), compiler)
                registers, stack, *loop = resources(compiled.asm["cubin"])
                spilled |= stack > 0
                line(f"| {name} | {precision} | {capability / 10} | {compiler['num_warps']} | {registers} | {stack} | "
                     f"{compiled.metadata.shared} | {loop[0]} | {loop[1]} |")
    return spilled


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
