"""Tokenizers in the exact form of each family's published tokenizer.json, trained here on a little text, and what the
reference implementation makes of a wide corpus."""

import json
import random
from collections import Counter
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tokenizer_corpus import corpus_lines

VOCABULARY = 900
ALPHABET = 200

LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN_WORDS = LLAMA3_WORDS.replace(r"\p{N}{1,3}", r"\p{N}")
# Mistral-Nemo and later ("Tekken"): words also end where lower case turns to upper.
TEKKEN_WORDS = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def special_tokens(texts):
    return [AddedToken(text, special=True, normalized=False) for text in texts]


def byte_level(words, special, normalizer=None, ignore_merges=False, bos=None, extra=()):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    split = pre_tokenizers.Split(Regex(words), behavior="isolated", invert=False)
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(corpus_lines(), trainer)
    tokenizer.add_special_tokens(special_tokens(special))
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in extra])
    processor = processors.ByteLevel(add_prefix_space=True, trim_offsets=False, use_regex=True)
    if bos is not None:
        template = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
        processor = processors.Sequence([processor, template])
    tokenizer.post_processor = processor
    return tokenizer


def sentencepiece(special, bos, normalizer=None, pre_tokenizer=None, strip=False, extra=()):
    """A BPE over ▁-joined text with byte fallback. Pieces never cross a space while learning, as SentencePiece has it."""
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    learner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    learner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    # Like SentencePiece's character coverage: rare characters stay out and fall back to their bytes. Which of the equally
    # rare ones stay is not left to the trainer, whose choice changes from run to run.
    counts = Counter("".join(corpus_lines()).replace(" ", "▁"))
    alphabet = sorted(counts, key=lambda character: (-counts[character], character))[:ALPHABET]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 259, initial_alphabet=alphabet, limit_alphabet=ALPHABET, show_progress=False
    )
    learner.train_from_iterator(corpus_lines(), trainer)
    learned = learner.get_vocab()
    pieces = special + list(extra) + [f"<0x{byte:02X}>" for byte in range(256)] + sorted(learned, key=learned.get)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    merges += [(run[:half], run[half:]) for run in extra for half in [(len(run) + 1) // 2] if (run[:half], run[half:]) not in merges]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if strip else []))
    tokenizer.add_special_tokens(special_tokens(special))
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in extra])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )
    return tokenizer


LLAMA3_SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
QWEN_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Newlines and runs of spaces, which Gemma keeps whole: added tokens that are not special, with merges to match.
GEMMA_RUNS = ["\n\n", "\n\n\n", "▁▁", "▁▁▁", "▁▁▁▁"]

FAMILIES = {
    "llama3": lambda: byte_level(LLAMA3_WORDS, LLAMA3_SPECIAL, ignore_merges=True, bos="<|begin_of_text|>"),
    "qwen": lambda: byte_level(
        QWEN_WORDS, QWEN_SPECIAL, normalizer=normalizers.NFC(), extra=["<think>", "</think>", "<tool_call>"]
    ),
    "gemma2": lambda: sentencepiece(
        ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"], "<bos>",
        normalizer=normalizers.Replace(" ", "▁"), pre_tokenizer=pre_tokenizers.Split(" ", "merged_with_previous"),
        extra=GEMMA_RUNS,
    ),
    "mistral": lambda: sentencepiece(
        ["<unk>", "<s>", "</s>"], "<s>", strip=True,
        normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
    ),
    "mistral-v3": lambda: sentencepiece(
        ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"], "<s>", strip=True,
        pre_tokenizer=pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False),
    ),
    "tekken": lambda: byte_level(TEKKEN_WORDS, ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"], ignore_merges=True, bos="<s>"),
}


def write_family_tokenizers(fixtures: Path) -> None:
    """`tokenizers/NAME/tokenizer.json`, `golden/corpus.json` and `golden/corpus-NAME.json`."""
    lines = corpus_lines()
    write_lines(fixtures / "golden" / "corpus.json", lines)
    for name, build in FAMILIES.items():
        tokenizer = build()
        folder = fixtures / "tokenizers" / name
        folder.mkdir(parents=True)
        (folder / "tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False) + "\n")
        entries = [golden(tokenizer, line) for line in lines] + sampled(tokenizer)
        write_lines(fixtures / "golden" / f"corpus-{name}.json", entries)


def golden(tokenizer, text: str):
    """Ids and decodings; what equals the text itself, or what any text gets, is left out."""
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    around = tokenizer.encode(text).ids
    start = next(i for i in range(len(around) + 1) if around[i : i + len(ids)] == ids)
    entry = {"ids": ids, "around": [around[:start], around[start + len(ids) :]]}
    return {**entry, **decodings(tokenizer, ids, text)}


def sampled(tokenizer):
    """Ids in no order, as a model at a high temperature gives them: halves of characters, bytes that are no text."""
    numbers = random.Random(7)
    size = tokenizer.get_vocab_size()
    draws = [[numbers.randrange(size) for _ in range(numbers.randrange(1, 16))] for _ in range(150)]
    byte_ids = [tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in range(256)]
    if None not in byte_ids:
        draws += [[byte_ids[numbers.randrange(256)] for _ in range(numbers.randrange(1, 6))] for _ in range(20)]
        draws += [numbers.choices([*byte_ids[0xC0:0xF8], *byte_ids[0x80:0xA0], *range(300, 320)], k=6) for _ in range(60)]
    return [{"ids": ids, **decodings(tokenizer, ids, None)} for ids in draws]


def decodings(tokenizer, ids, text):
    both = {
        "decoded": tokenizer.decode(ids, skip_special_tokens=True),
        "decodedWithSpecialTokens": tokenizer.decode(ids, skip_special_tokens=False),
    }
    return {key: value for key, value in both.items() if value != text}


def write_lines(path: Path, entries) -> None:
    """A JSON array with one entry a line, so that a change shows where it is."""
    body = ",\n".join(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) for entry in entries)
    path.write_text(f"[\n{body}\n]\n")
