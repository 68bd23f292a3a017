"""Writes packages/lm/fixtures: tiny models, their tokenizers, and what the reference implementation makes of them.

    pip install -r packages/lm/reference/requirements.txt
    python packages/lm/reference/make_fixtures.py

The format is described in packages/lm/fixtures/README.md. Everything is seeded; a rerun changes only last digits.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

import fixture_models
import fixture_training as training
from fixture_models import CASES, load_reference, save_model
from fixture_sampling import sampling_golden
from fixture_tokenizers import tokenizer_golden

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
GREEDY_TOKENS = 24


def main() -> None:
    torch.set_num_threads(1)
    folders = ("models", "adapters", "golden")
    for folder in folders:
        shutil.rmtree(FIXTURES / folder, ignore_errors=True)
        (FIXTURES / folder).mkdir(parents=True)
    tokenizers = {case.name: save_model(case, FIXTURES / "models" / case.name) for case in CASES}
    write_json("tokenizers", {name: tokenizer_golden(tokenizer) for name, tokenizer in tokenizers.items()})
    write_json("sampling", sampling_golden())
    float32_logits = {case.name: plain_float32_logits(case) for case in CASES}
    fixture_models.use_float64()
    for case in CASES:
        write_case(case, tokenizers[case.name], float32_logits[case.name])
    total = sum(path.stat().st_size for folder in folders for path in (FIXTURES / folder).rglob("*") if path.is_file())
    print(f"{total / 1e6:.2f} MB")


def write_case(case, tokenizer, float32_logits) -> None:
    generator = torch.Generator().manual_seed(100 + case.seed)
    model = load_reference(FIXTURES / "models" / case.name)
    tensors = {}
    for index, ids in enumerate(logit_sequences(case)):
        with torch.no_grad():
            logits = model(ids[None], use_cache=False).logits[0]
        tensors[f"logits.{index}.ids"] = ids.to(torch.int32)
        tensors[f"logits.{index}.logits"] = logits
        deviation = (logits - float32_logits[index]).abs().max().item()
        assert deviation < 2e-5, (case.name, deviation)
    golden = {
        "model": case.name,
        "greedy": [greedy(model, tokenizer, generator, length) for length in (1, 4, 13, 30)],
        "spans": [span(model, generator, context, length) for context, length in ((1, 5), (9, 1), (17, 12))],
    }
    if case.trains:
        batches = training.make_batches(generator, case.config.vocab_size)
        golden["batches"] = batches
        golden["optimizer"] = {
            "learningRate": training.LEARNING_RATE, "beta1": 0.9, "beta2": 0.98, "epsilon": 1e-8, "weightDecay": 0,
            "clipNorm": training.CLIP,
        }
        golden["full"] = full_training(case, batches, tensors)
        golden["lora"] = lora_training(case, batches, tensors, generator)
    write_json(case.name, golden)
    save_arrays(FIXTURES / "golden" / f"{case.name}.safetensors", tensors)


def logit_sequences(case):
    generator = torch.Generator().manual_seed(200 + case.seed)
    return [torch.randint(0, case.config.vocab_size, (length,), generator=generator) for length in (2, 11, 23)]


def plain_float32_logits(case):
    """Logits of the unmodified model in float32: what the float64 reference must agree with."""
    model = fixture_models.AutoModelForCausalLM.from_pretrained(
        FIXTURES / "models" / case.name, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        return [model(ids[None], use_cache=False).logits[0] for ids in logit_sequences(case)]


def greedy(model, tokenizer, generator, length: int):
    """Greedy tokens from a random prompt on which no choice is close, few repeat and the end token is never chosen."""
    while True:
        prompt = torch.randint(0, len(tokenizer), (length,), generator=generator)
        ids, chosen, log_probabilities, margin = prompt.clone(), [], [], float("inf")
        for _ in range(GREEDY_TOKENS):
            with torch.no_grad():
                scores = model(ids[None], use_cache=False).logits[0, -1].log_softmax(-1)
            best = scores.topk(2)
            margin = min(margin, (best.values[0] - best.values[1]).item())
            chosen.append(best.indices[0].item())
            log_probabilities.append(best.values[0].item())
            ids = torch.cat([ids, best.indices[:1]])
        if margin > 2e-3 and len(set(chosen)) >= 8 and not set(chosen) & set(tokenizer.end_ids):
            return {"prompt": prompt.tolist(), "tokens": chosen, "logProbabilities": log_probabilities, "margin": margin}


def span(model, generator, context_length: int, span_length: int):
    ids = torch.randint(0, model.config.vocab_size, (context_length + span_length,), generator=generator)
    with torch.no_grad():
        scores = model(ids[None], use_cache=False).logits[0].log_softmax(-1)
    tokens = [scores[i - 1, ids[i]].item() for i in range(context_length, len(ids))]
    return {
        "context": ids[:context_length].tolist(),
        "span": ids[context_length:].tolist(),
        "logProbabilities": tokens,
        "sum": sum(tokens),
        "mean": sum(tokens) / len(tokens),
    }


def full_training(case, batches, tensors):
    model = load_reference(FIXTURES / "models" / case.name)
    parameters = dict(model.named_parameters())
    loss, gradients = training.gradients(model, parameters, batches[0])
    tensors.update({f"full.gradient.{name}": value for name, value in gradients.items()})
    losses, norms = training.train(model, parameters, batches)
    tensors.update({f"full.final.{name}": value.detach() for name, value in parameters.items()})
    return {"loss": loss, "losses": losses, "gradientNorms": norms}


def lora_training(case, batches, tensors, generator):
    model = load_reference(FIXTURES / "models" / case.name)
    parameters = training.add_lora(model, generator)
    folder = FIXTURES / "adapters" / case.name
    folder.mkdir()
    save_arrays(folder / "adapter_model.safetensors", {name: value.detach() for name, value in parameters.items()})
    config = training.adapter_config(f"../../models/{case.name}")
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    with torch.no_grad():
        tensors["lora.logits"] = model(logit_sequences(case)[1][None], use_cache=False).logits[0]
    loss, gradients = training.gradients(model, parameters, batches[0])
    tensors.update({f"lora.gradient.{name}": value for name, value in gradients.items()})
    losses, norms = training.train(model, parameters, batches)
    tensors.update({f"lora.final.{name}": value.detach() for name, value in parameters.items()})
    return {
        "rank": training.LORA_RANK, "alpha": training.LORA_ALPHA, "targets": training.LORA_TARGETS,
        "loss": loss, "losses": losses, "gradientNorms": norms,
    }


def save_arrays(path: Path, tensors) -> None:
    def narrow(value):
        return value.contiguous() if value.dtype == torch.int32 else value.to(torch.float32).contiguous()

    save_file({name: narrow(value) for name, value in tensors.items()}, path, metadata={"format": "pt"})


def write_json(name: str, value) -> None:
    (FIXTURES / "golden" / f"{name}.json").write_text(json.dumps(value, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
