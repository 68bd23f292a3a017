"""Writes a Qwen2 model with random weights as GGUF, for llama.cpp.

    python write_gguf.py '{"config": {...}, "type": "Q8_0", "path": "model.gguf"}'

`type` is that of the matrices, F32 or Q8_0; norms and biases are F32, as llama.cpp's own converter leaves them. It has no
tokenizer: nothing here makes text.
"""

import json
import sys

import gguf
import numpy

job = json.loads(sys.argv[1])
config = job["config"]
kind = gguf.GGMLQuantizationType[job["type"]]
hidden, middle = config["hidden_size"], config["intermediate_size"]
heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
head_dim = config.get("head_dim", hidden // heads)
random = numpy.random.default_rng(1)

writer = gguf.GGUFWriter(job["path"], "qwen2")
writer.add_context_length(config["max_position_embeddings"])
writer.add_embedding_length(hidden)
writer.add_block_count(config["num_hidden_layers"])
writer.add_feed_forward_length(middle)
writer.add_head_count(heads)
writer.add_head_count_kv(kv_heads)
writer.add_rope_freq_base(config["rope_theta"])
writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
writer.add_vocab_size(config["vocab_size"])
writer.add_tokenizer_model("none")
writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if job["type"] == "Q8_0" else gguf.LlamaFileType.ALL_F32)


def matrix(name: str, outputs: int, inputs: int) -> None:
    values = random.standard_normal((outputs, inputs), dtype=numpy.float32) * numpy.float32(0.02)
    writer.add_tensor(f"{name}.weight", gguf.quantize(values, kind), raw_dtype=kind)


def vector(name: str, length: int, value: float) -> None:
    writer.add_tensor(name, numpy.full(length, value, dtype=numpy.float32))


matrix("token_embd", config["vocab_size"], hidden)
vector("output_norm.weight", hidden, 1)
for layer in range(config["num_hidden_layers"]):
    block = f"blk.{layer}"
    vector(f"{block}.attn_norm.weight", hidden, 1)
    vector(f"{block}.ffn_norm.weight", hidden, 1)
    for name, outputs in [("attn_q", heads * head_dim), ("attn_k", kv_heads * head_dim), ("attn_v", kv_heads * head_dim)]:
        matrix(f"{block}.{name}", outputs, hidden)
        vector(f"{block}.{name}.bias", outputs, 0)
    matrix(f"{block}.attn_output", hidden, heads * head_dim)
    matrix(f"{block}.ffn_gate", middle, hidden)
    matrix(f"{block}.ffn_up", middle, hidden)
    matrix(f"{block}.ffn_down", hidden, middle)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
