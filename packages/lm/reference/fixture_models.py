"""Tiny random-weight models of every architecture that between them switch on every option."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GenerationConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.gemma2 import modeling_gemma2
from transformers.models.llama import modeling_llama
from transformers.models.mistral import modeling_mistral
from transformers.models.qwen2 import modeling_qwen2
from transformers.models.qwen3 import modeling_qwen3

import fixture_tokenizers as tokenizers


@dataclass
class Case:
    name: str
    config: object
    tokenizer: Callable
    seed: int
    dtype: torch.dtype = torch.float32
    shard_size: str | None = None
    old_config: bool = False
    # Training references exist for one model an architecture; the others check loading and the forward pass.
    trains: bool = False


LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 1000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    # Short enough that kept, stretched and blended frequencies all occur in a head of ten dimensions.
    "original_max_position_embeddings": 48,
}

CASES = [
    Case(
        "llama",
        LlamaConfig(
            vocab_size=307, hidden_size=32, intermediate_size=44, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, head_dim=10, max_position_embeddings=96, rms_norm_eps=1e-5, attention_bias=True,
            mlp_bias=True, tie_word_embeddings=True, rope_parameters=LLAMA3_ROPE,
        ),
        tokenizers.llama_tokenizer, seed=11, trains=True,
    ),
    Case(
        "llama-sharded",
        LlamaConfig(
            vocab_size=300, hidden_size=36, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3,
            num_key_value_heads=3, max_position_embeddings=96, tie_word_embeddings=False, rope_parameters=LLAMA3_ROPE,
        ),
        tokenizers.llama_tokenizer, seed=12, shard_size="40KB", old_config=True,
    ),
    Case(
        "qwen2",
        Qwen2Config(
            vocab_size=311, hidden_size=36, intermediate_size=52, num_hidden_layers=2, num_attention_heads=6,
            num_key_value_heads=2, max_position_embeddings=96, tie_word_embeddings=False, use_sliding_window=False,
            sliding_window=4, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        ),
        tokenizers.qwen_tokenizer, seed=13, trains=True,
    ),
    Case(
        "qwen2-bf16",
        Qwen2Config(
            vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=1, max_position_embeddings=96, tie_word_embeddings=True, use_sliding_window=True,
            sliding_window=6, max_window_layers=1,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        ),
        tokenizers.qwen_tokenizer, seed=14, dtype=torch.bfloat16,
    ),
    Case(
        "gemma2",
        Gemma2Config(
            vocab_size=372, hidden_size=28, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, head_dim=10, max_position_embeddings=96, query_pre_attn_scalar=17, sliding_window=5,
            attn_logit_softcapping=3.0, final_logit_softcapping=6.0,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        ),
        tokenizers.gemma_tokenizer, seed=15, trains=True,
    ),
    Case(
        "gemma2-fp16",
        Gemma2Config(
            vocab_size=372, hidden_size=24, intermediate_size=36, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, head_dim=16, max_position_embeddings=96, query_pre_attn_scalar=16, sliding_window=7,
            layer_types=["full_attention", "sliding_attention"], attention_bias=True, attn_logit_softcapping=None,
            final_logit_softcapping=5.0, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        ),
        tokenizers.gemma_tokenizer, seed=16, dtype=torch.float16,
    ),
    Case(
        "qwen3",
        Qwen3Config(
            vocab_size=309, hidden_size=28, intermediate_size=44, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, head_dim=10, max_position_embeddings=96, attention_bias=True,
            tie_word_embeddings=True, use_sliding_window=True, sliding_window=5, max_window_layers=1,
            rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        ),
        tokenizers.qwen3_tokenizer, seed=17, trains=True,
    ),
    Case(
        "mistral",
        MistralConfig(
            vocab_size=373, hidden_size=36, intermediate_size=46, num_hidden_layers=2, num_attention_heads=6,
            num_key_value_heads=2, head_dim=8, max_position_embeddings=96, sliding_window=6,
            tie_word_embeddings=False, rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        ),
        tokenizers.mistral_tokenizer, seed=19, old_config=True, trains=True,
    ),
]


def save_model(case: Case, folder: Path):
    """Writes the Hugging Face folder of a case and returns its tokenizer."""
    tokenizer = case.tokenizer()
    case.config.bos_token_id = tokenizer.bos_token_id
    case.config.eos_token_id = tokenizer.eos_token_id
    case.config.pad_token_id = tokenizer.pad_token_id
    model = AutoModelForCausalLM.from_config(case.config)
    randomise(model, case.seed)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.end_ids, pad_token_id=tokenizer.pad_token_id
    )
    model = model.to(case.dtype)
    model.config.dtype = case.dtype
    shards = {} if case.shard_size is None else {"max_shard_size": case.shard_size}
    model.save_pretrained(folder, **shards)
    tokenizer.save_pretrained(folder)
    if case.old_config:
        write_as_transformers_4(folder / "config.json")
    return tokenizer


def randomise(model, seed: int) -> None:
    """Weights large enough that every part of the model shows in the logits: norms off centre, biases off zero. Where
    the output matrix is the embedding it is small beside the layers, or greedy decoding would repeat one token."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1:
            is_gemma = model.config.model_type == "gemma2"
            # Gemma's norms multiply by 1 + w; its residual stream grows through the norms after each block.
            centre = (0.5 if is_gemma else 1.0) if "norm" in name else 0.0
            parameter.data = centre + 0.25 * noise
        elif "embed_tokens" in name or "lm_head" in name:
            parameter.data = (0.15 if model.config.tie_word_embeddings else 0.3) * noise
        elif name.endswith(("o_proj.weight", "down_proj.weight")):
            parameter.data = 2 * noise / parameter.shape[1] ** 0.5
        else:
            parameter.data = noise / parameter.shape[1] ** 0.5


def write_as_transformers_4(path: Path) -> None:
    """Spells the rotary settings and the type as transformers 4 does, as most published checkpoints still have them."""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2) + "\n")


class Float64Torch:
    """`torch` as the modeling files see it, except that what they hold in float32 on purpose is held in float64."""

    float = float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


def load_reference(folder: Path):
    """The saved model in float64 throughout: also the norms, softmaxes and rotary tables that transformers computes in
    float32. Rotary inverse frequencies stay rounded to float32, as every implementation has them."""
    return load_float32(folder).double()


def load_float32(folder: Path):
    """The saved model as transformers runs it in float32."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


@contextlib.contextmanager
def float64_arithmetic():
    """Within it, what the modeling files hold in float32 on purpose is held in float64."""
    modules = (modeling_llama, modeling_qwen2, modeling_gemma2, modeling_qwen3, modeling_mistral)
    to_float = torch.Tensor.float
    for module in modules:
        module.torch = Float64Torch()
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        for module in modules:
            module.torch = torch
        torch.Tensor.float = to_float
