"""Tiny tokenizers built like the real ones of each family, and the texts they are compared on."""

import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "Tom has 3 apples and buys 14 more. How many apples does Tom have?",
    "Question: what is 12 plus 7? The answer is 19.",
    "The train leaves at 9 and arrives at 17, so the answer is 8 hours.",
    "Anna gives half of her 24 marbles to Ben. Then the answer is 12.",
    "Solve x + 2 = 5. We have x = 3, so the answer is 3.",
]

TEXTS = [
    "Tom has 3 apples.",
    "",
    " ",
    "  two  spaces   and\ttabs\n\n\nnewlines \n ends with space ",
    "don't we'll THEY'VE it's I'M",
    "1234567890 3.14159 -2,000 10^6 x²",
    "naïve café: cafe\u0301 is not caf\u00e9",
    "Привет, мир! Γειά σου Κόσμε. שלום עולם مرحبا",
    "日本語のテキスト、中文文本。한국어",
    "emoji 😀👍🏽👨‍👩‍👧‍👦🇨🇭 end",
    "\u00a0no-break\u2003em space\u200bzero width\ufeffbom",
    "line\r\nwindows\r\rold mac",
    "\\boxed{\\frac{1}{2}} $a_1 + b^{2}$ <tag attr=\"x\">&amp;</tag>",
    "control \x01\x02\x7f chars",
    "the answer is the answer is the answer is",
    "▁ literal lower one eighth block",
]

# The pre-tokenisation patterns of Llama-3 and Qwen2; they differ in how many digits stay together.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

LLAMA_CHAT = (
    "{{- bos_token }}{%- for message in messages %}{{- '<|start|>' + message['role'] + '<|end|>\\n' }}"
    "{{- message['content'] | trim + '<|eot|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start|>assistant<|end|>\\n' }}{%- endif %}"
)
QWEN_CHAT = (
    "{%- if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are careful.<|im_end|>\n{%- endif %}"
    "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{%- endif %}"
)
# As Qwen3's: looks for the last question from behind, strips earlier thoughts, may switch thinking off.
QWEN3_CHAT = (
    "{%- if messages[0].role == 'system' %}{{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}{%- endif %}"
    "{%- set ns = namespace(searching=true, last=messages | length - 1) %}"
    "{%- for message in messages[::-1] %}{%- set index = (messages | length - 1) - loop.index0 %}"
    "{%- if ns.searching and message.role == 'user' and message.content is string and not ("
    "message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}"
    "{%- set ns.searching = false %}{%- set ns.last = index %}{%- endif %}{%- endfor %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{%- elif message.role == 'assistant' %}"
    "{%- set content = message.content.split('</think>')[-1].lstrip('\n') if loop.index0 < ns.last else message.content %}"
    "{{- '<|im_start|>assistant\n' + content + '<|im_end|>\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{%- endif %}"
)
# As Mistral's: refuses roles that do not alternate.
MISTRAL_CHAT = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user/assistant') }}{% endif %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ message['content'] + eos_token }}{% else %}{{ raise_exception('Unknown role') }}{% endif %}{% endfor %}"
)
# Refers to peer_answers, and so is given other peers' answers as data.
GEMMA_CHAT = (
    "{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + message['role'] + '\n' + message['content'] }}"
    "{% for answer in peer_answers | default([]) %}{{ '\n[' ~ answer.speaker ~ ' ' ~ answer.peer ~ '] ' ~ answer.text }}"
    "{% endfor %}{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def byte_level_tokenizer(special, digits, normalizer, add_bos, chat, names):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    split = pre_tokenizers.Split(Regex(WORDS.replace("DIGITS", digits)), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300 - len(special), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    byte_level = processors.ByteLevel(trim_offsets=False)
    if add_bos:
        bos = names["bos_token"]
        template = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
        tokenizer.post_processor = processors.Sequence([byte_level, template])
    else:
        tokenizer.post_processor = byte_level
    return wrap(tokenizer, chat, names)


def llama_tokenizer():
    special = ["<|begin|>", "<|eot|>", "<|start|>", "<|end|>", "<|pad|>"]
    names = {"bos_token": "<|begin|>", "eos_token": "<|eot|>", "pad_token": "<|pad|>"}
    return byte_level_tokenizer(special, r"\p{N}{1,3}", None, True, LLAMA_CHAT, names)


def qwen_tokenizer():
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    return byte_level_tokenizer(special, r"\p{N}", normalizers.NFC(), False, QWEN_CHAT, names)


def qwen3_tokenizer():
    """Qwen2's, with added tokens that are not special: they stay in the text when special tokens are left out."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    tokenizer = byte_level_tokenizer(special, r"\p{N}", normalizers.NFC(), False, QWEN3_CHAT, names)
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in ("<think>", "</think>")])
    return tokenizer


def mistral_tokenizer():
    """SentencePiece-style as Llama-2 and Mistral convert it: a ▁ before the text, stripped when decoding."""
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    learner.normalizer = normalizer
    learner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    learner.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=100, show_progress=False))
    tokenizer = byte_fallback_tokenizer(learner, ["<unk>", "<s>", "</s>"])
    tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B:1", special_tokens=[("<s>", 1)]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return wrap(tokenizer, MISTRAL_CHAT, names)


def byte_fallback_tokenizer(learner, special):
    """What a BPE learnt, behind the special tokens and the 256 bytes."""
    learned = learner.get_vocab()
    pieces = special + [f"<0x{byte:02X}>" for byte in range(256)] + sorted(learned, key=learned.get)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def gemma_tokenizer():
    """SentencePiece-style: spaces become ▁, characters outside the vocabulary fall back to their bytes."""
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    learner.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=100, show_progress=False))
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    tokenizer = byte_fallback_tokenizer(learner, special)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B:1", special_tokens=[("<bos>", 2)]
    )
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return wrap(tokenizer, GEMMA_CHAT, names, end_of_turn="<end_of_turn>")


def wrap(tokenizer, chat, names, end_of_turn=None):
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **names)
    wrapped.chat_template = chat
    # Everything that ends a generation, which generation_config.json lists.
    ends = [names["eos_token"], *([end_of_turn] if end_of_turn else [])]
    wrapped.end_ids = [tokenizer.token_to_id(token) for token in ends]
    return wrapped


def tokenizer_golden(tokenizer):
    """Ids, with and without special tokens, and decodings of every text; the chat template's output for two prompts."""
    question = "How many is 3 + 4?"
    answers = [
        {"speaker": 0, "peer": "ada", "text": "It is 7."},
        {"speaker": 1, "peer": "bob", "text": "The answer is 8."},
    ]
    special = tokenizer.all_special_tokens
    texts = TEXTS + [f"a{special[0]} b{special[1]}{special[0]}c"]
    return {
        "texts": [
            {
                "text": text,
                "ids": tokenizer.encode(text, add_special_tokens=False),
                "idsWithSpecialTokens": tokenizer.encode(text, add_special_tokens=True),
                "decoded": tokenizer.decode(tokenizer.encode(text, add_special_tokens=False), skip_special_tokens=True),
            }
            for text in texts
        ],
        "prompts": [
            {
                "question": question,
                "answers": given,
                "text": tokenizer.apply_chat_template(
                    [{"role": "user", "content": question}],
                    tokenize=False,
                    add_generation_prompt=True,
                    peer_answers=given,
                ),
            }
            for given in ([], answers)
        ],
    }
