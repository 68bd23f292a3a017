"""One optimiser step in PyTorch, with transformers and PEFT, as `take_turns` asks for it.

    python torch_step.py '{"config": {...}, "rows": 2, "tokens": 256, "threads": 2, "lora": {"rank": 16, "alpha": 32}, "compile": false}'

The model is made of the config.json given, with random weights, in float32. Without `lora` every parameter trains.
"""

import json
import os
import sys
import time

job = json.loads(sys.argv[1])
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(job["threads"])
os.environ["HF_HUB_OFFLINE"] = "1"

import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from turns import take_turns  # noqa: E402

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_model() -> torch.nn.Module:
    config = transformers.AutoConfig.for_model(**job["config"])
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=torch.float32)
    model.config.use_cache = False
    if job.get("lora"):
        lora = peft.LoraConfig(
            task_type="CAUSAL_LM",
            r=job["lora"]["rank"],
            lora_alpha=job["lora"]["alpha"],
            lora_dropout=0.0,
            target_modules=LINEARS,
        )
        model = peft.get_peft_model(model, lora)
    model.train()
    return torch.compile(model) if job.get("compile") else model


def main() -> None:
    torch.manual_seed(1)
    torch.set_num_threads(job["threads"])
    model = make_model()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, fused=True)
    rows, tokens, vocabulary = job["rows"], job["tokens"], job["config"]["vocab_size"]
    ids = torch.randint(3, vocabulary, (rows, tokens + 1))
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    def step(_: str) -> dict[str, object]:
        start, cpu = time.perf_counter(), time.process_time()
        loss = model(input_ids=inputs, labels=targets, shift_labels=targets).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return {
            "ms": 1000 * (time.perf_counter() - start),
            "cpuMs": 1000 * (time.process_time() - cpu),
            "loss": loss.item(),
        }

    take_turns(
        {
            "peer": f"PyTorch {torch.__version__}" + (f" + PEFT {peft.__version__}" if job.get("lora") else ""),
            "transformers": transformers.__version__,
            "trainable": sum(p.numel() for p in trained),
        },
        step,
    )


main()
