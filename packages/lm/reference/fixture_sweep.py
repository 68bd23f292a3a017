"""Random small configurations of every architecture, which together switch on every option.

Their weights are not stored: both sides compute them from a hash of each parameter's name (`hashed_values`, and
`hashed-values.ts`), so that many configurations take little room.
"""

import json
import math
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

import fixture_training as training
from fixture_models import float64_arithmetic

PER_ARCHITECTURE = 6
GREEDY_TOKENS = 20
STEPS = training.LORA_STEPS


# What may vary, by architecture. A value is what config.json has; None leaves the key out.
COMMON = {
    "heads": [(4, 4), (4, 2), (4, 1), (6, 3), (3, 1), (2, 2)],
    "hidden_size": [24, 48],
    "head_dim": [None, 6, 10, 14],
    "intermediate_size": [29, 40, 53],
    "num_hidden_layers": [1, 2, 3],
    "vocab_size": [61, 64, 89, 97, 131],
    "tie_word_embeddings": [True, False],
    "rms_norm_eps": [1e-6, 1e-5],
    "rope": ["default", "llama3", "long"],
    "lora": [
        {"r": 1, "lora_alpha": 2, "target_modules": ["q_proj", "v_proj"]},
        {"r": 4, "lora_alpha": 8, "target_modules": training.LORA_TARGETS},
        {"r": 3, "lora_alpha": 5, "target_modules": ["k_proj", "o_proj", "gate_proj"]},
        {"r": 2, "lora_alpha": 3, "target_modules": ["up_proj", "down_proj"], "use_rslora": True},
    ],
}
WINDOWS = [
    {"use_sliding_window": False},
    {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0},
    {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1},
    {"use_sliding_window": True, "sliding_window": 5, "layer_types": "mixed"},
]
ACTIVATIONS = ["silu", "gelu_pytorch_tanh"]
ARCHITECTURES = {
    "LlamaForCausalLM": {"attention_bias": [True, False], "mlp_bias": [True, False], "hidden_act": ACTIVATIONS},
    "Qwen2ForCausalLM": {"windows": WINDOWS, "hidden_act": ACTIVATIONS},
    "Gemma2ForCausalLM": {
        "attention_bias": [True, False],
        "attn_logit_softcapping": [2.5, 50.0, "null"],
        "final_logit_softcapping": [4.0, 30.0, "null"],
        "query_pre_attn_scalar": [7, 16, 24],
        "windows": [{"sliding_window": 3}, {"sliding_window": 8}, {"sliding_window": 5, "layer_types": "mixed"}],
        "head_dim": [6, 8, 10, 14],
    },
    "Qwen3ForCausalLM": {
        "attention_bias": [True, False], "windows": WINDOWS, "hidden_act": ACTIVATIONS, "head_dim": [6, 8, 10, 14],
    },
    "MistralForCausalLM": {
        "windows": [{"sliding_window": "null"}, {"sliding_window": 3}, {"sliding_window": 6}], "hidden_act": ACTIVATIONS,
    },
}


def write_sweep(fixtures: Path) -> None:
    """`golden/sweep.json` and `golden/sweep.safetensors`."""
    numbers = random.Random(20261201)
    cases, tensors = [], {}
    for architecture, options in ARCHITECTURES.items():
        for index, (source, lora) in enumerate(configurations(architecture, {**COMMON, **options}, numbers)):
            name = f"{architecture.removesuffix('ForCausalLM').lower()}-{index}"
            cases.append(reference(name, source, lora, numbers, tensors))
    body = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    (fixtures / "golden" / "sweep.json").write_text(f"[\n{body}\n]\n")
    arrays = {name: value.to(torch.float32).contiguous() for name, value in tensors.items()}
    save_file(arrays, fixtures / "golden" / "sweep.safetensors", metadata={"format": "pt"})


def configurations(architecture, options, numbers):
    """Every value of every option occurs: each option's values go round, in an order of their own."""
    columns = {}
    for key, values in options.items():
        rounds = [numbers.sample(values, len(values)) for _ in range(PER_ARCHITECTURE)]
        columns[key] = [value for values in rounds for value in values][:PER_ARCHITECTURE]
    for row in range(PER_ARCHITECTURE):
        yield configuration(architecture, {key: column[row] for key, column in columns.items()})


def configuration(architecture, chosen):
    heads, kv_heads = chosen.pop("heads")
    windows, lora, rope = chosen.pop("windows", {}), chosen.pop("lora"), chosen.pop("rope")
    source = {
        "architectures": [architecture],
        "model_type": architecture.removesuffix("ForCausalLM").lower(),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 80,
        "rope_parameters": {
            "default": {"rope_type": "default", "rope_theta": 10000.0},
            "long": {"rope_type": "default", "rope_theta": 1000000.0},
            "llama3": {
                "rope_type": "llama3", "rope_theta": 1000.0, "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 24,
            },
        }[rope],
        **windows,
        **chosen,
    }
    if source.get("layer_types") == "mixed":
        pattern = ["full_attention", "sliding_attention", "sliding_attention"]
        source["layer_types"] = pattern[-source["num_hidden_layers"] :]
    if source["head_dim"] is None:
        del source["head_dim"]
    return {key: None if value == "null" else value for key, value in source.items()}, lora


def reference(name, source, lora, numbers, tensors):
    seed = numbers.randrange(2**31)
    vocabulary = source["vocab_size"]
    ids = [numbers.randrange(vocabulary) for _ in range(29)]
    batches = [[sequence(numbers, vocabulary) for _ in range(2)] for _ in range(STEPS)]

    def fresh():
        return hashed_model(source, seed)

    with torch.no_grad():
        logits32 = fresh()(torch.tensor([ids]), use_cache=False).logits[0]
    with float64_arithmetic(), torch.no_grad():
        model = fresh().double()
        logits = model(torch.tensor([ids]), use_cache=False).logits[0]
        prompt, tokens = greedy(model, numbers, vocabulary)
    deviation = (logits - logits32).abs().max().item()
    assert deviation < 5e-5, (name, deviation)
    generated = fresh().generate(
        torch.tensor([prompt]), do_sample=False, max_new_tokens=GREEDY_TOKENS, pad_token_id=0, eos_token_id=vocabulary,
        attention_mask=torch.ones(1, len(prompt)),
    )
    assert generated[0, len(prompt) :].tolist() == tokens, name

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "adapter"
        value_of = lambda parameter, shape: torch.from_numpy(
            hashed_values(seed, parameter, shape, shape[1] ** -0.5 if ".lora_A." in parameter else 0.1)
        )
        training.make_adapter(fresh(), folder, "none", value_of, **lora)
        losses32, _ = training.train(*training.load_adapter(fresh(), folder), batches)
        with float64_arithmetic():
            losses, _ = training.train(*training.load_adapter(fresh().double(), folder), batches)
        config = json.loads((folder / "adapter_config.json").read_text())
    relative = max(abs(a / b - 1) for a, b in zip(losses32, losses))
    assert relative < 2e-4, (name, relative)
    print(f"{name}: float32 within {deviation:.1e} (logits), {relative:.1e} (LoRA losses, relative) of float64")
    tensors[f"{name}.logits"] = logits
    return {
        "name": name, "config": source, "seed": seed, "ids": ids, "greedy": {"prompt": prompt, "tokens": tokens},
        "adapter": {key: config[key] for key in ("r", "lora_alpha", "use_rslora", "target_modules")},
        "batches": batches, "losses": losses,
    }


def sequence(numbers, vocabulary):
    length = numbers.randrange(5, 18)
    return {
        "ids": [numbers.randrange(vocabulary) for _ in range(length)],
        "targetStart": numbers.randrange(1, length),
        "weight": round(numbers.uniform(0.3, 1.7), 4),
    }


def greedy(model, numbers, vocabulary):
    """Of a few prompts after which no choice is close, the one with the most different greedy tokens."""
    found = []
    for _ in range(24):
        prompt = [numbers.randrange(vocabulary) for _ in range(numbers.randrange(1, 12))]
        ids, margin = list(prompt), math.inf
        for _ in range(GREEDY_TOKENS):
            best = model(torch.tensor([ids]), use_cache=False).logits[0, -1].topk(2)
            margin = min(margin, (best.values[0] - best.values[1]).item())
            ids.append(best.indices[0].item())
        if margin > 2e-3:
            found.append((prompt, ids[len(prompt) :]))
    return max(found, key=lambda run: len(set(run[1])))


def hashed_model(source, seed):
    """The model in float32 with weights off every neutral value, so that each part of it shows in the logits."""
    folder = Path(tempfile.mkdtemp())
    (folder / "config.json").write_text(json.dumps(source))
    config = AutoConfig.from_pretrained(folder)
    shutil.rmtree(folder)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if len(shape) == 1:
            centre = np.float32(1 if "norm" in name and source["model_type"] != "gemma2" else 0)
            values = centre + hashed_values(seed, name, shape, 0.4)
        elif "embed_tokens" in name or "lm_head" in name:
            values = hashed_values(seed, name, shape, 0.2 if source["tie_word_embeddings"] else 0.5)
        else:
            values = hashed_values(seed, name, shape, 2 * shape[1] ** -0.5)
        parameter.data = torch.from_numpy(values)
    return model


def hashed_values(seed: int, name: str, shape, scale: float) -> np.ndarray:
    """Float32 values in [-scale, scale), element i from a hash of seed, name and i; `hashed-values.ts` computes the same."""
    key = 0x811C9DC5
    for byte in name.encode():
        key = ((key ^ byte) * 0x01000193) & 0xFFFFFFFF
    x = np.arange(math.prod(shape), dtype=np.uint32) * np.uint32(0x9E3779B1)
    x ^= np.uint32(key ^ seed)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> np.uint32(shift)
        x *= np.uint32(factor)
    x ^= x >> np.uint32(16)
    unit = (x >> np.uint32(8)).astype(np.float32) / np.float32(2**23) - np.float32(1)
    return (unit * np.float32(scale)).reshape(shape)
