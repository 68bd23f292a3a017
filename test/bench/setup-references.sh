#!/bin/sh
# Installs what `npm run bench:engine` compares the engine with, pinned: PyTorch, transformers and PEFT, and llama.cpp compiled for
# this machine's processor. What is installed already stays; a second run changes nothing.
#
#   test/bench/setup-references.sh [FOLDER]
#
# FOLDER is where everything goes, ~/.cache/parley/bench unless given (or PARLEY_BENCH_FOLDER). PARLEY_BENCH_TORCH_PYTHON and
# PARLEY_BENCH_LLAMA_PYTHON name Pythons that have the packages already; nothing is installed in their place, they are only
# checked. PYTHON is the Python that makes the environment (3.11 or newer; default python3). Needs a C++ compiler.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-${PARLEY_BENCH_FOLDER:-$HOME/.cache/parley/bench}}
venv=$folder/venv
own=$venv/bin/python
torch_python=${PARLEY_BENCH_TORCH_PYTHON:-$own}
llama_python=${PARLEY_BENCH_LLAMA_PYTHON:-$own}

if [ "$torch_python" = "$own" ] || [ "$llama_python" = "$own" ]; then
  [ -x "$own" ] || "${PYTHON:-python3}" -m venv "$venv"
fi
if [ "$torch_python" = "$own" ]; then
  "$own" -m pip install --quiet --disable-pip-version-check -r "$here/reference/requirements.txt"
fi
if [ "$llama_python" = "$own" ]; then
  "$own" -m pip install --quiet --disable-pip-version-check \
    numpy=="$(sed -n 's/^numpy==//p' "$here/reference/requirements.txt")" \
    gguf=="$(sed -n 's/^gguf==//p' "$here/reference/requirements.txt")"
  # A wheel made elsewhere, or for another processor, would be a weak opponent: this one is compiled here. That takes minutes.
  CMAKE_ARGS="-DGGML_NATIVE=ON ${CMAKE_ARGS:-}" "$own" -m pip install --disable-pip-version-check --quiet \
    --no-binary llama-cpp-python -r "$here/reference/requirements-llama.txt"
fi

"$torch_python" - "$here/reference/requirements.txt" <<'PYTHON'
import sys
from importlib.metadata import version

pins = dict(line.strip().split("==") for line in open(sys.argv[1]) if "==" in line)
for name in ("torch", "transformers", "peft"):
    found = version(name).split("+")[0]
    print(f"{name} {found}" + ("" if found == pins[name] else f" (the figures in the docs are of {pins[name]})"))
PYTHON
"$llama_python" - "$here/reference/requirements-llama.txt" <<'PYTHON'
import ctypes
import sys
from importlib.metadata import version

from llama_cpp import llama_cpp

pin = [line.strip().split("==")[1] for line in open(sys.argv[1]) if "==" in line][0]
found = version("llama-cpp-python")
print(f"llama-cpp-python {found}" + ("" if found == pin else f" (the figures in the docs are of {pin})"))
print(f"gguf {version('gguf')}, numpy {version('numpy')}")
quiet = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)
llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
system = llama_cpp.llama_print_system_info().decode()
print(f"llama.cpp: {system}")
# What the processor has and llama.cpp uses for 8-bit products must have been compiled in.
with open("/proc/cpuinfo") as info:
    flags = set(next((line for line in info if line.startswith("flags")), "").split())
for flag, switch in (("avx2", "AVX2"), ("avx512f", "AVX512"), ("avx512_vnni", "AVX512_VNNI")):
    if flag in flags and f"{switch} = 1" not in system:
        sys.exit(f"llama.cpp was compiled without {switch}, which this processor has: build it with GGML_NATIVE=ON")
PYTHON

echo
echo "npm run bench:engine finds these with:"
[ "$folder" = "$HOME/.cache/parley/bench" ] || echo "  export PARLEY_BENCH_FOLDER=$folder"
[ "$torch_python" = "$own" ] || echo "  export PARLEY_BENCH_TORCH_PYTHON=$torch_python"
[ "$llama_python" = "$own" ] || echo "  export PARLEY_BENCH_LLAMA_PYTHON=$llama_python"
[ "$folder $torch_python $llama_python" != "$HOME/.cache/parley/bench $own $own" ] || echo "  nothing to set"
