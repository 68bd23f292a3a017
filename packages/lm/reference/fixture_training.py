"""Reference gradients and AdamW steps of all parameters and of PEFT's LoRA adapters."""

import json
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

LORA_RANK = 3
LORA_ALPHA = 6.0
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FULL_STEPS = 10
LORA_STEPS = 20
LEARNING_RATE = 2e-3
CLIP = 1.0


def make_batches(generator, vocabulary: int, count: int):
    """Batches of three sequences. Weights are small in every third batch, so that some steps are not clipped."""

    def integer(low, high):
        return int(torch.randint(low, high, (1,), generator=generator))

    def sequence(step):
        length = integer(4, 16)
        ids = torch.randint(0, vocabulary, (length,), generator=generator).tolist()
        scale = 0.02 if step % 3 == 2 else 1.0
        weight = round(scale * (0.2 + 1.6 * float(torch.rand(1, generator=generator))), 6)
        return {"ids": ids, "targetStart": integer(1, length), "weight": weight}

    return [[sequence(step) for _ in range(3)] for step in range(count)]


def batch_loss(model, batch):
    """L = (1/N) sum_i w_i mean_t CE(i, t) over the target tokens t >= targetStart of each sequence."""
    total = 0.0
    for item in batch:
        ids = torch.tensor(item["ids"])
        logits = model(ids[None], use_cache=False).logits[0]
        start = item["targetStart"]
        total = total + item["weight"] * nn.functional.cross_entropy(logits[start - 1 : -1], ids[start:])
    return total / len(batch)


def gradients(model, parameters, batch):
    for parameter in parameters.values():
        parameter.grad = None
    loss = batch_loss(model, batch)
    loss.backward()
    return loss.item(), {name: parameter.grad.clone() for name, parameter in parameters.items()}


def train(model, parameters, batches):
    """One AdamW step a batch; returns losses and gradient norms before clipping. Changes the parameters in place."""
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=LEARNING_RATE, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.0
    )
    losses, norms = [], []
    for batch in batches:
        optimizer.zero_grad()
        loss = batch_loss(model, batch)
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(list(parameters.values()), CLIP).item())
        optimizer.step()
        losses.append(loss.item())
    return losses, norms


def make_adapter(model, folder: Path, base_model: str, value_of, **settings) -> None:
    """Puts a LoRA adapter on a float32 model with PEFT and has PEFT save it. `value_of(name, shape)` gives A and B."""
    config = LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, bias="none", **settings)
    wrapped = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in adapter_parameters(wrapped).items():
            parameter.copy_(value_of(name, parameter.shape))
    wrapped.peft_config["default"].base_model_name_or_path = base_model
    # Unless told, PEFT asks the hub whether the vocabulary of the base model was changed.
    wrapped.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()
    # PEFT keeps the targets as a set, whose order changes from run to run.
    path = folder / "adapter_config.json"
    saved = json.loads(path.read_text())
    saved["target_modules"].sort(key=LORA_TARGETS.index)
    path.write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n")


def load_adapter(model, folder: Path):
    """The model with the saved adapter beside its weights, in the model's own precision, and what trains by name."""
    wrapped = PeftModel.from_pretrained(model, folder, is_trainable=True, autocast_adapter_dtype=False)
    return wrapped.eval(), adapter_parameters(wrapped)


def adapter_parameters(wrapped):
    """A and B of every module, by the names adapter_model.safetensors has them under."""
    trained = {name: value for name, value in wrapped.named_parameters() if value.requires_grad}
    return {name.replace(".default.weight", ".weight"): value for name, value in trained.items()}


def random_values(generator):
    """A and B both off zero, so that gradients of both show from the first step."""

    def value_of(name, shape):
        scale = shape[1] ** -0.5 if ".lora_A." in name else 0.1
        return scale * torch.randn(shape, generator=generator)

    return value_of
