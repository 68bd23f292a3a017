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
from transformers.utils import logging

import fixture_training as training
from family_tokenizers import write_family_tokenizers
from fixture_models import CASES, float64_arithmetic, load_float32, load_reference, save_model
from fixture_sampling import sampling_golden
from fixture_sweep import write_sweep
from fixture_tokenizers import tokenizer_golden

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
GREEDY_TOKENS = 24


def main() -> None:
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folders = ("models", "adapters", "golden", "tokenizers")
    for folder in folders:
        shutil.rmtree(FIXTURES / folder, ignore_errors=True)
        (FIXTURES / folder).mkdir(parents=True)
    tokenizers = {case.name: save_model(case, FIXTURES / "models" / case.name) for case in CASES}
    write_json("tokenizers", {name: tokenizer_golden(tokenizer) for name, tokenizer in tokenizers.items()})
    write_json("sampling", sampling_golden())
    write_family_tokenizers(FIXTURES)
    write_sweep(FIXTURES)
    for case in CASES:
        write_case(case, tokenizers[case.name])
    total = sum(path.stat().st_size for folder in folders for path in (FIXTURES / folder).rglob("*") if path.is_file())
    print(f"{total / 1e6:.2f} MB")


def write_case(case, tokenizer) -> None:
    generator = torch.Generator().manual_seed(100 + case.seed)
    tensors = {}
    with float64_arithmetic():
        model = load_reference(FIXTURES / "models" / case.name)
        for index, ids in enumerate(logit_sequences(case)):
            with torch.no_grad():
                logits = model(ids[None], use_cache=False).logits[0]
            tensors[f"logits.{index}.ids"] = ids.to(torch.int32)
            tensors[f"logits.{index}.logits"] = logits
        golden = {
            "model": case.name,
            "greedy": [greedy(model, tokenizer, generator, length) for length in (1, 4, 13, 30)],
            "spans": [span(model, generator, context, length) for context, length in ((1, 5), (9, 1), (17, 12))],
        }
    check_float32(case, tensors, golden["greedy"])
    if case.trains:
        batches = training.make_batches(generator, case.config.vocab_size, training.FULL_STEPS)
        later = torch.Generator().manual_seed(300 + case.seed)
        more = training.make_batches(later, case.config.vocab_size, training.LORA_STEPS - training.FULL_STEPS)
        golden["batches"] = batches + more
        golden["optimizer"] = {
            "learningRate": training.LEARNING_RATE, "beta1": 0.9, "beta2": 0.98, "epsilon": 1e-8, "weightDecay": 0,
            "clipNorm": training.CLIP,
        }
        with float64_arithmetic():
            golden["full"] = full_training(case, batches, tensors)
        golden["lora"] = lora_training(case, batches + more, tensors, generator)
    write_json(case.name, golden)
    save_arrays(FIXTURES / "golden" / f"{case.name}.safetensors", tensors)


def logit_sequences(case):
    generator = torch.Generator().manual_seed(200 + case.seed)
    return [torch.randint(0, case.config.vocab_size, (length,), generator=generator) for length in (2, 11, 23)]


def check_float32(case, tensors, greedy_runs) -> None:
    """Unmodified transformers in float32 must agree with the reference: in logits, and in `generate`, cache and all."""
    model = load_float32(FIXTURES / "models" / case.name)
    for index, ids in enumerate(logit_sequences(case)):
        with torch.no_grad():
            logits = model(ids[None], use_cache=False).logits[0]
        deviation = (logits - tensors[f"logits.{index}.logits"]).abs().max().item()
        assert deviation < 2e-5, (case.name, deviation)
    for run in greedy_runs:
        prompt = torch.tensor([run["prompt"]])
        output = model.generate(prompt, do_sample=False, max_new_tokens=GREEDY_TOKENS, attention_mask=prompt.ne(-1))
        assert output[0, prompt.shape[1] :].tolist() == run["tokens"], case.name


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
    """PEFT's own adapter and training, in float64; asserts that PEFT in float32 has the same losses."""
    model_folder, folder = FIXTURES / "models" / case.name, FIXTURES / "adapters" / case.name
    training.make_adapter(
        load_float32(model_folder), folder, f"../../models/{case.name}", training.random_values(generator),
        r=training.LORA_RANK, lora_alpha=training.LORA_ALPHA, target_modules=training.LORA_TARGETS,
    )
    model, float32_parameters = training.load_adapter(load_float32(model_folder), folder)
    float32_losses, _ = training.train(model, float32_parameters, batches)
    with float64_arithmetic():
        model, parameters = training.load_adapter(load_reference(model_folder), folder)
        with torch.no_grad():
            tensors["lora.logits"] = model(logit_sequences(case)[1][None], use_cache=False).logits[0]
        loss, gradients = training.gradients(model, parameters, batches[0])
        tensors.update({f"lora.gradient.{name}": value for name, value in gradients.items()})
        losses, norms = training.train(model, parameters, batches)
    deviation = max(abs(a / b - 1) for a, b in zip(float32_losses, losses))
    assert deviation < 1e-4, (case.name, deviation)
    drift = max((float32_parameters[name] - value).abs().max().item() for name, value in parameters.items())
    assert drift < 2e-5, (case.name, drift)
    print(f"{case.name}: PEFT in float32 is within {deviation:.1e} (losses, relative) and {drift:.1e} (weights) of float64")
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
