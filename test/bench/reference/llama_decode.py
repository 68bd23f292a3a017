"""Decoding in llama.cpp, as its own `llama-batched-bench` measures it and `take_turns` asks for it.

    python llama_decode.py '{"path": "model.gguf", "batches": [1, 8], "promptTokens": 64, "newTokens": 64, "threads": 2, ...}'

A turn is a batch size. Every sequence has its own prompt and its own cache; one llama_decode computes one token of each. Prompts
are computed before the clock starts, and no time is spent on choosing tokens.
"""

import ctypes
import json
import sys
import time

import llama_cpp
from llama_cpp import llama_cpp as lib
from turns import take_turns

job = json.loads(sys.argv[1])
prompt_tokens, new_tokens = job["promptTokens"], job["newTokens"]


@lib.llama_log_callback
def ignore_log(_level: int, _text: bytes, _data: ctypes.c_void_p) -> None:
    pass


lib.llama_log_set(ignore_log, ctypes.c_void_p(0))
lib.llama_backend_init()
model_options = lib.llama_model_default_params()
model_options.use_mmap = job.get("mmap", True)
model_options.use_extra_bufts = job.get("repack", True)
model = lib.llama_model_load_from_file(job["path"].encode(), model_options)
if not model:
    raise SystemExit(f"llama.cpp did not load {job['path']}")
vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))


def open_context(batch: int) -> object:
    options = lib.llama_context_default_params()
    options.n_ctx = batch * (prompt_tokens + new_tokens)
    options.n_batch = 2048
    options.n_ubatch = 512
    options.n_seq_max = batch
    options.n_threads = options.n_threads_batch = job["threads"]
    options.flash_attn_type = job.get("flashAttention", -1)
    options.kv_unified = job.get("unifiedCache", False)
    if job.get("cacheType") is not None:
        options.type_k = options.type_v = job["cacheType"]
    context = lib.llama_init_from_model(model, options)
    if not context:
        raise SystemExit(f"llama.cpp made no context for {batch} sequences")
    return context


def decode(context: object, batch: object) -> None:
    status = lib.llama_decode(context, batch)
    if status != 0:
        raise SystemExit(f"llama_decode returned {status}")


def fill(batch: object, tokens: list[tuple[int, int, int, bool]]) -> None:
    """`tokens` are (token, position, sequence, whether its logits are wanted)."""
    batch.n_tokens = len(tokens)
    for i, (token, position, sequence, wanted) in enumerate(tokens):
        batch.token[i] = token
        batch.pos[i] = position
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = sequence
        batch.logits[i] = wanted


def token_at(sequence: int, position: int) -> int:
    return 3 + (sequence * 977 + position * 31) % (vocabulary - 3)


contexts = {size: open_context(size) for size in job["batches"]}
room = lib.llama_batch_init(2048, 0, 1)


def turn(line: str) -> dict[str, object]:
    size = int(line)
    context = contexts[size]
    lib.llama_memory_clear(lib.llama_get_memory(context), True)
    prompt = [
        (token_at(sequence, position), position, sequence, position == prompt_tokens - 1)
        for sequence in range(size)
        for position in range(prompt_tokens)
    ]
    start = time.perf_counter()
    for at in range(0, len(prompt), 2048):
        fill(room, prompt[at : at + 2048])
        decode(context, room)
    lib.llama_synchronize(context)
    prefill = time.perf_counter() - start
    start, cpu = time.perf_counter(), time.process_time()
    for step in range(new_tokens):
        position = prompt_tokens + step
        fill(room, [(token_at(sequence, position), position, sequence, True) for sequence in range(size)])
        decode(context, room)
        lib.llama_synchronize(context)
    ms = 1000 * (time.perf_counter() - start)
    return {
        "ms": ms / new_tokens,
        "cpuMs": 1000 * (time.process_time() - cpu) / new_tokens,
        "tokensPerSecond": 1000 * size * new_tokens / ms,
        "prefillTokensPerSecond": len(prompt) / prefill,
    }


take_turns(
    {
        "peer": f"llama.cpp (llama-cpp-python {llama_cpp.__version__})",
        "system": lib.llama_print_system_info().decode(),
    },
    turn,
)
