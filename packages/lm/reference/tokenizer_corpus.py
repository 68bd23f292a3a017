"""Text that tokenizers stumble over, by kind, and seeded mixtures of it."""

import random
import unicodedata

PLAIN = """Tom has 3 apples and buys 14 more. How many apples does Tom have?
Question: what is 12 plus 7? The answer is 19.
The train leaves at 9 and arrives at 17, so the answer is 8 hours.
Anna gives half of her 24 marbles to Ben. Then the answer is 12.
Solve x + 2 = 5. We have x = 3, so the answer is 3.
The quick brown fox jumps over the lazy dog.
THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG!
iPhone, eBay, McDonald, GitHub, camelCaseWords, PascalCaseWords, snake_case_words, kebab-case-words, SCREAMING_CASE
Once upon a time, in a land far away, there lived a peer who learned from other peers.
First, add the numbers; second, divide by two; third, check the result.""".split("\n")

CONTRACTIONS = """don't can't won't it's he'd they're we've I'm she'll
DON'T CAN'T WON'T IT'S HE'D THEY'RE WE'VE I'M SHE'LL
Don'T it'S You'RE we'Ve i'M she'lL
it’s don’t ’tis rock ’n’ roll
'tis 'twas 's 't 're 've 'm 'll 'd
''s '''re 'sss 'tt 'dd
it'ſ IT'ſ 'ſ the long s
the dogs' bones; James's; '90s; 'quoted'; o'clock""".split("\n")

NUMBERS = """0 1 12 123 1234 12345 123456 1234567 12345678 123456789 1234567890
3.14159 -2,000 1,234,567.89 1e10 1.5E-7 0x1F 0b101 007
x² y³ ½ ¾ ⅓ Ⅳ ⅷ ① ⑳ ㊿ ₁₂₃
٠١٢٣٤٥٦٧٨٩ ०१२३४५ 一二三 ０１２３４５６７８９ 𝟎𝟏𝟐𝟑
12abc34def567ghi8901
2024-06-30T23:59:60Z 12:34:56.789 +1 (555) 010-0199
100% $5.00 €7,50 £3 ¥900 ₹12 ₿0.5 #1 №2 §3 ¶4
9999999999999999999999999999999999999999""".split("\n")

SCRIPTS = """Привет, мир! Съешь ещё этих мягких французских булок.
Γειά σου Κόσμε. Ταχίστη αλώπηξ βαφής ψημένη γη.
שלום עולם, מה שלומך היום?
בְּרֵאשִׁית בָּרָא אֱלֹהִים
مرحبا بالعالم كيف حالك اليوم؟
السَّلَامُ عَلَيْكُمْ وَرَحْمَةُ اللهِ
日本語のテキスト、中文文本。한국어 텍스트
私は学生です。カタカナ ﾊﾝｶｸ ひらがな
中文没有空格，所以切分很难。繁體中文與簡體中文。
안녕하세요 세계 각
สวัสดีชาวโลก ภาษาไทยไม่มีช่องว่าง
नमस्ते दुनिया क्षत्रिय ज्ञान
வணக்கம் உலகம் తెలుగు ಕನ್ನಡ മലയാളം
বাংলা ગુજરાતી ਪੰਜਾਬੀ ଓଡ଼ିଆ සිංහල
ქართული ენა Հայերեն አማርኛ
Tiếng Việt có nhiều dấu: ấ ầ ẩ ẫ ậ
Zażółć gęślą jaźń. Příliš žluťoučký kůň. Ðǎ ŋ þ ß ẞ ı İ
Straße GROẞ ﬁ ﬂ ﬀ Ǆ ǅ ǆ
ᚠᚢᚦᚨᚱᚲ 𐎀𐎁𐎂 𒀀𒀁 𓀀𓀁
ᠮᠣᠩᠭᠣᠯ བོད་སྐད ភាសាខ្មែរ မြန်မာ ລາວ
mixed Привет hello 世界 مرحبا שלום 123 สวัสดี
abcабвαβγאבגابجあア漢한""".split("\n")

MARKS = """cafe\u0301 is not caf\u00e9
A\u030a \u00c5 \u212b three Ångströms
e\u0323\u0302 \u1ec7 e\u0302\u0323
Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031e a\u0489l\u0335go
\u0301 alone \u0301\u0302 twice
\u1112\u1161\u11ab\u1100\u1173\u11af \ud55c\uae00
\u0958 \u0915\u093c \u09dc \u09a1\u09bc
ﬃ ① ㎏ ｶﾞ \uff76\uff9e \u30ab\u3099
\u2126 \u03a9 \u212a K \u00b5 \u03bc
\u0344 \u0374 \u037e \u0387 \u1fbe \u2000 \u2001 \u2329 \u232a
\uf900 \u8c48 \ufa0e \U0002f800 \u4e3d
o\u0308\u0304 \u022b n\u0303o man\u0303ana""".split("\n")

EMOJI = """😀😃😄 simple
emoji 😀👍🏽👨‍👩‍👧‍👦🇨🇭 end
👍👍🏻👍🏼👍🏽👍🏾👍🏿
👩‍💻🧑‍🚀👨‍❤️‍💋‍👨🏳️‍🌈🏴‍☠️
🇨🇭🇯🇵🇺🇳🇪🇺🇨🇭🇨
🏴󠁧󠁢󠁥󠁮󠁧󠁿🏴󠁧󠁢󠁳󠁣󠁴󠁿
1️⃣2️⃣#️⃣*️⃣ ❤️ ❤ ☺️ ☺ ✈︎ ✈️
a😀b😀c 😀 😀  😀
text:😀,(😀)[😀]"😀"'😀'
😀's 😀't 👍n't
🫠🫡🪿🩷🫨
♠♣♥♦ ★☆ ☀☁☂ ⚡ ♫ ∞ ∑ ∫ √ ≈ ≠ ≤ ≥ → ← ⇒
𝒜𝓑𝔠 𝕏 𝟙 🄰 🅱️ Ⓜ️""".split("\n")

WHITESPACE = [
    "", " ", "  ", "   ", "    ", "     ", "\t", "\t\t", "\n", "\n\n", "\n\n\n", "\n\n\n\n\n", "\r", "\r\n", "\r\n\r\n",
    " \n", "\n ", " \n ", "  \n\n  ", "\t\n\t", " \t \t", "\x0b", "\x0c", "\x85", "\u2028", "\u2029",
    " leading", "  leading", "   leading three", "\tleading tab", "\nleading newline", "\u00a0leading nbsp",
    "trailing ", "trailing  ", "trailing\t", "trailing\n", "trailing\n\n", "trailing \n", "trailing\u00a0",
    " both ", "  both  ", "\n both \n",
    "  two  spaces   and\ttabs\n\n\nnewlines \n ends with space ",
    "a b  c   d    e     f      g       h        i", "a\nb\n\nc\n\n\nd\n\n\n\ne", "a\tb\t\tc\t\t\td",
    "line\r\nwindows\r\rold mac\n\runix", "a \n b \n\n c", "x  \n  y", "end. \n\nNext", "a\u0085b\u0085\u0085c",
    "\u00a0no-break\u2003em space\u200bzero width\ufeffbom", "\u1680ogham\u2000en\u2001em\u2009thin\u200ahair\u202fnarrow\u205fmath\u3000ideographic",
    "a\u00a0\u00a0b\u00a0 c \u00a0d", "zero\u200b\u200bwidth\u200cnon\u200djoiner\u2060word", "soft\u00adhyphen",
    "\ufeff", "\ufeffbom first", "bom last\ufeff", "\ufeff\ufeff two", "a\ufeff b", " \ufeff ", "\ufeff\n",
    "a\u180eb\u180e", "\u200e\u200fmarks\u202aembed\u202c\u2066isolate\u2069",
    "line\u2028separator\u2029paragraph", "vertical\x0btab\x0cfeed", "a\x1cb\x1dc\x1ed\x1fe",
]

CONTROL = [
    "control \x01\x02\x7f chars", "nul\x00inside", "\x00", "\x1b[31mred\x1b[0m", "bell\x07back\x08", "\x80\x81\x9f latin controls",
    "\ufffd", "a\ufffdb", "\ufffd\ufffd\ufffd", "\ufffe \uffff nonCharacters", "\ue000\uf8ff private", "\U000f0000\U0010fffd",
    "\U0010ffff", "\ufff9anchor\ufffaannotation\ufffb", "\u034f \u061c \u115f \u17b4 \u3164",
]

CODE = """def f(x):⏎    return [i ** 2 for i in range(x) if i % 2 == 0]  # comment
for (int i = 0; i < n; ++i) { sum += a[i]; }
\tif (x != null && y >= 0) {⏎\t\treturn x ? y : -1;⏎\t}
const f = async <T,>(x: T[]): Promise<T> => await x?.[0]!;
SELECT * FROM "t" WHERE a = 'b''c' AND d <> 1; -- sql
\\boxed{\\frac{1}{2}} $a_1 + b^{2}$ \\sqrt[3]{x}
<tag attr="x" other='y'>&amp;&#x27;&nbsp;</tag><!-- c -->
{"key": "va\\"lue", "n": [1, 2.5e-3, null, true]}
regex: ^\\s*(?:\\d+|[a-z_]\\w*)\\s*$
#include <stdio.h>⏎⏎int main(void) {⏎    printf("%d\\n", 1);⏎}
a+=b; c-->d; e<<=2; f===g; h|>i; j::k; l->m; n..=o; p...q
~!@#$%^&*()_+-={}|[]:";'<>?,./`
!!! ??? ... ,,, ;;; --- ___ *** === ### /// \\\\\\
- item⏎  - nested⏎    1. one⏎    2. two
| a | b |⏎|---|:-:|⏎| 1 | 2 |
```python⏎print("hi")⏎```""".split("\n")
CODE = [line.replace("⏎", "\n") for line in CODE]

URLS = """https://example.org/a/b?c=d&e=f#g
http://user:pass@[::1]:8080/p%20q/%F0%9F%98%80;x=1
ftp://files.example.com/~me/file.tar.gz mailto:a.b+c@example.co.uk
www.example.com/path/to/page.html, and (http://x.y).
C:\\Users\\me\\file.txt /usr/local/bin ../a/./b ~/c
192.168.0.1 fe80::1%eth0 00:1A:2B:3C:4D:5E 550e8400-e29b-41d4-a716-446655440000""".split("\n")

SPECIAL = [
    "<|begin_of_text|>", "<|begin_of_text|>text<|eot_id|>", "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "a <|im_end|> b", " <|im_end|> ", "a<|im_end|>b",
    "<think>\nhm\n</think>\n\nyes", "a <think> b </think> c", "<tool_call>{}</tool_call>", "<|endoftext|><|endoftext|>",
    "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n", "x <bos> y <eos> z", "<pad><unk>",
    "<s>[INST] Hi [/INST] Hello</s>[INST] Bye [/INST]", "<s>", "</s>", "<unk>", " <s> ", "a<s>b", "a </s> b </s>",
    "<s><s></s>", "<unk><unk>", "<0x41>", "a<0x0A>b", "<0xFF>", "<0xff>", "<0xE2><0x82><0xAC>",
    "<|im_start|", "<|im_start", "|im_start|>", "<<|im_start|>>", "<|IM_START|>", "<｜end｜>", "< s >", "<|eot_id|>\n", "\n<|eot_id|>",
    "▁", "▁▁", "▁▁▁▁", "a▁b", " ▁ ", "▁ literal lower one eighth block", "Ġ Ċ ĉ byte-level letters", "Ġthe Ċ",
    "text with <bos>\n\n<eos>  and   runs", "<end_of_turn>\n\n\n<start_of_turn>", "  <s>  text  </s>  ",
]

LONG = [
    "a" * 300, "ab" * 150, "the" * 100, " " * 100, "\n" * 40, "=" * 120, "9" * 100, "é" * 80, "漢" * 60, "😀" * 40,
    "word " * 60, "pneumonoultramicroscopicsilicovolcanoconiosis", "Donaudampfschifffahrtselektrizitätenhauptbetriebswerk",
    "the answer is the answer is the answer is", "a\u0301" * 50, "\u200d" * 30, "Aa" * 100, "<s>" * 20,
]

KINDS = [PLAIN, CONTRACTIONS, NUMBERS, SCRIPTS, MARKS, EMOJI, WHITESPACE, CONTROL, CODE, URLS, SPECIAL]
MIXTURES = 160


def corpus_lines() -> list[str]:
    """Every line by hand, the other normal form of those it changes, and mixtures of pieces of all of them."""
    lines = [line for kind in KINDS for line in kind]
    forms = [unicodedata.normalize(form, line) for line in SCRIPTS + MARKS for form in ("NFC", "NFD")]
    lines += [line for line in forms if line not in lines]
    numbers = random.Random(20261127)

    def piece() -> str:
        line = numbers.choice(numbers.choice(KINDS))
        if len(line) < 6:
            return line
        start = numbers.randrange(len(line) - 3)
        return line[start : start + numbers.randrange(1, 12)]

    mixtures = ["".join(piece() + numbers.choice(["", "", " ", "\n"]) for _ in range(5)) for _ in range(MIXTURES)]
    return list(dict.fromkeys(lines + LONG + mixtures))
