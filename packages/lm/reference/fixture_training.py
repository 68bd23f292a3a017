"""Reference gradients, AdamW steps and LoRA, in float64."""

import torch
from torch import nn

LORA_RANK = 3
LORA_ALPHA = 6.0
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
STEPS = 10
LEARNING_RATE = 2e-3
CLIP = 1.0


def make_batches(generator, vocabulary: int):
    """Ten batches of three sequences. Weights are small in every third batch, so that some steps are not clipped."""

    def integer(low, high):
        return int(torch.randint(low, high, (1,), generator=generator))

    def sequence(step):
        length = integer(4, 16)
        ids = torch.randint(0, vocabulary, (length,), generator=generator).tolist()
        scale = 0.02 if step % 3 == 2 else 1.0
        weight = round(scale * (0.2 + 1.6 * float(torch.rand(1, generator=generator))), 6)
        return {"ids": ids, "targetStart": integer(1, length), "weight": weight}

    return [[sequence(step) for _ in range(3)] for step in range(STEPS)]


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


class LoraLinear(nn.Module):
    """y = W x + (alpha / r) B (A x), PEFT's convention without dropout."""

    def __init__(self, base: nn.Linear, generator):
        super().__init__()
        self.base = base

        def normal(rows, columns, scale):
            value = scale * torch.randn(rows, columns, generator=generator)
            # Adapters are stored in float32, so they start from values that float32 holds.
            return nn.Parameter(value.to(torch.float32).to(torch.float64))

        self.lora_A = normal(LORA_RANK, base.in_features, base.in_features**-0.5)
        self.lora_B = normal(base.out_features, LORA_RANK, 0.1)

    def forward(self, x):
        return self.base(x) + (LORA_ALPHA / LORA_RANK) * (x @ self.lora_A.T @ self.lora_B.T)


def add_lora(model, generator):
    """Wraps every targeted linear module; returns the adapter's parameters under the names PEFT saves them by."""
    model.requires_grad_(False)
    parameters = {}
    targets = [name for name, _ in model.named_modules() if name.rsplit(".", 1)[-1] in LORA_TARGETS]
    for name in targets:
        parent_name, child = name.rsplit(".", 1)
        parent = model.get_submodule(parent_name)
        wrapped = LoraLinear(getattr(parent, child), generator)
        setattr(parent, child, wrapped)
        parameters[f"base_model.model.{name}.lora_A.weight"] = wrapped.lora_A
        parameters[f"base_model.model.{name}.lora_B.weight"] = wrapped.lora_B
    return parameters


def adapter_config(base_model: str):
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "r": LORA_RANK,
        "lora_alpha": LORA_ALPHA,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": LORA_TARGETS,
    }
