"""What transformers makes of a row of logits: the distribution its sampling draws from, in transformers' own order."""

import itertools

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

VOCABULARY = 48
TEMPERATURES = [0.6, 1.0, 1.7]
TOP_K = [0, 7]
TOP_P = [1.0, 0.8]
MIN_P = [0.0, 0.05]
PENALTIES = [1.0, 1.3, 0.7]


def any_model():
    """Only a model knows the order of its logits processors; which one does not matter."""
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
    ))


def make_case(model, generator, temperature, top_k, top_p, min_p, penalty):
    logits = torch.randn(1, VOCABULARY, generator=generator) * 2.5
    ids = torch.randint(VOCABULARY, (1, 12), generator=generator)
    settings = GenerationConfig(
        do_sample=True, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p or None, repetition_penalty=penalty,
    )
    processors = model._get_logits_processor(
        generation_config=settings, input_ids_seq_length=ids.shape[1], encoder_input_ids=None,
        prefix_allowed_tokens_fn=None, logits_processor=[], device="cpu", model_kwargs={},
    )
    probabilities = torch.softmax(processors(ids, logits).double(), dim=-1)[0]
    return {
        "settings": {
            "temperature": temperature, "topK": top_k, "topP": top_p, "minP": min_p, "repetitionPenalty": penalty,
        },
        "seen": ids[0].tolist(),
        "logits": logits[0].tolist(),
        # The tokens that may be drawn; all others have probability 0.
        "probabilities": {str(i): p for i, p in enumerate(probabilities.tolist()) if p > 0},
    }


def sampling_golden():
    model = any_model()
    generator = torch.Generator().manual_seed(5)
    combinations = itertools.product(TEMPERATURES, TOP_K, TOP_P, MIN_P, PENALTIES)
    return [make_case(model, generator, *combination) for combination in combinations]
