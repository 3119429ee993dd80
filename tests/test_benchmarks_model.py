from kernels.taps import GEOMETRIES


def test_quick_benchmark(run_script):
    result = run_script("benchmarks/model.py", "--quick")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("difference") == 2 * len(GEOMETRIES)
