"""Loads what export_for_peft.mjs wrote with PEFT and transformers, unmodified and in float32, and compares log-probabilities.

    node packages/lm/reference/export_for_peft.mjs OUT
    python packages/lm/reference/check_peft_export.py OUT
"""

import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
from transformers.utils import logging

BOUND = 1e-4


def main(out: Path) -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for folder in sorted(path for path in out.iterdir() if path.is_dir()):
        scores = json.loads((folder / "scores.json").read_text())
        base = load(scores["base"])
        untrained = difference(base, scores)
        adapter = difference(PeftModel.from_pretrained(base, folder / "adapter"), scores)
        merged = difference(load(folder / "merged"), scores)
        print(f"{folder.name}: PEFT {adapter:.1e}, merged {merged:.1e} (the model without the adapter: {untrained:.1e})")
        assert adapter <= BOUND and merged <= BOUND and untrained > 100 * BOUND, folder.name


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def difference(model, scores) -> float:
    """max |log p(token | prompt) - ours| over all tokens and prompts."""
    worst = 0.0
    for prompt, ours in zip(scores["prompts"], scores["logProbs"]):
        with torch.no_grad():
            theirs = model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
        worst = max(worst, (theirs - torch.tensor(ours)).abs().max().item())
    return worst


if __name__ == "__main__":
    main(Path(sys.argv[1]))
