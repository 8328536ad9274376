#!/usr/bin/env python3
"""Compares token ids with Hugging Face tokenizers, text by text. By hand; needs `tokenizers`.

  check_tokens.py --oracle tokenizer.json --command 'isobit model tokenize DIR --json'
  check_tokens.py --gguf model.gguf       --command 'isobit model tokenize model.gguf --json'

The command reads one JSON string a line and prints one JSON array of ids a line. Texts: all prompts
of --prompts (a folder with gsm8k.jsonl and ifeval.jsonl), the hand-made ones below, --random N
mixtures of awkward pieces, and with --exhaustive every code point alone and in a context.
The oracle of a GGUF file is built from its vocabulary, merges and token types (needs `gguf`) with
the pre-tokenizer that tokenizer.ggml.pre names; transformers' own reading of GGUF ignores that key.
Exit status: 0 all equal, 1 a difference, 2 the command failed.
"""
import argparse
import json
import os
import random
import subprocess
import sys

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

WORDS = """Привет, мир! Как дела?|你好,世界。今天天气怎么样?|こんにちは世界、カタカナとひらがな|안녕하세요 세계
مرحبا بالعالم كيف حالك؟|שלום עולם, מה שלומך?|नमस्ते दुनिया कैसे हैं|สวัสดีชาวโลก|Γειά σου Κόσμε
Đây là tiếng Việt có dấu
Größe, Straße, ÄÖÜ äöü ß ẞ|Ça va? L'été n'est pas fini, j'aimerais…
¿Qué tal? ¡Mañana será otro día!|İstanbul'da ılık bir gün
தமிழ் மொழி|ಕನ್ನಡ|తెలుగు|മലയാളം|বাংলা ভাষা|ગુજરાતી|ਪੰਜਾਬੀ|ଓଡ଼ିଆ|සිංහල|ქართული|Հայերեն|አማርኛ|ខ្មែរ
ລາວ|မြန်မာ|བོད་ཡིག|ᏣᎳᎩ|ᚠᚢᚦ|𐍈𐌰|𒀀𒁀
👩‍👩‍👧‍👦 family|👍🏽 skin|🏳️‍🌈🏴‍☠️|🇩🇪🇫🇷🇯🇵 flags|❤️‍🔥|1️⃣2️⃣#️⃣|🧑🏿‍🚀🛰️|😀😁😂🤣😃|🏴󠁧󠁢󠁥󠁮󠁧󠁿|☎️✈️©®™
e\u0301 vs é|a\u0300\u0301\u0302\u0303|Z\u0351\u036b\u0343algo|n\u0303 ñ|\u1100\u1161\u11a8 각
\u0915\u094d\u0937|A\u030a Å \u212b|\ufb01 ﬁne|ǆ ǅ Ǆ
I'm you're we've he'll she'd it's don't|I'M YOU'RE WE'VE HE'LL SHE'D IT'S DON'T
's 't 're 've 'm 'll 'd 'S 'T 'RE|it\u2019s|'\u017f '\u017fx 'ſ|''''s'|'x 'l 'r
1234567890|3.14159 1,000,000|12 345 6|٠١٢٣٤٥|१२३|①②③ ⅓ ½ ² ³ Ⅷ|\U0001d7ce\U0001d7cf|x1y22z333
a1 b2  c3   4|0x1F 1e-10|\U00011de0\U00016ff4
<|im_start|>user\\nhi<|im_end|>\\n|<|im_start|><|im_end|>|<|im_start|><|im_start|>|<|endoftext|>x<
endoftext|>|<|im_start| >|<<|im_end|>>|<|im_end|
<repo_name>a/b<file_sep>c<gh_stars>0|<reponame><repo_name>|<filename>x.py
<issue_start>text<issue_comment>|<jupyter_code>1+1|<empty_output><empty"""

CODE = r"""def f(x):\n    return x ** 2  # square\n
for (int i = 0; i < n; ++i) {\n\t\ta[i] += b[i];\n}\n|SELECT * FROM t WHERE a='b' AND c!=3;
<html><body class="x">&nbsp;</body></html>|{"a": [1, 2.5, null], "b": "c\\n"}
#include <vector>\nint main() { return 0; }|if __name__ == '__main__':\n    main()
$ ls -la | grep foo > /dev/null 2>&1|x = y if z else w; q //= 3|/* comment */ // line\n\n\n
a->b::c<d>(e)&&f||g|\\section{A}\n\\frac{1}{2}$x^2$|'''doc'''\n\"\"\"s\"\"\"
!!!???...---___===+++***|@user #tag $5 50% ^ & ~ `code`|http://example.com/a?b=c&d=e#f
C:\\Users\\x|a.b.c,d;e:f|(((())))[[]]{{}}|--flag=value -x|1+1=2"""


def hand_made():
    texts = ["", " ", "  ", "a", "\n", "\0", "\x7f", "\ufeff", "\u200b", "\u00ad"]
    for line in (WORDS + "\n" + CODE).split("\n"):
        texts += [t.replace("\\n", "\n").replace("\\t", "\t") for t in line.split("|")]
    spaces = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", " \n", "\n ", " \n \n ", "\t\t ",
              "\u00a0",
              "\u3000", "\u2003\u2003", "\u2028", "\u0085", "\x0b\x0c", "\x1c", " \u00a0 ", "\r"]
    texts += [s + w for s in spaces for w in ("x", "1", "!", "")]
    texts += ["x" + s + w for s in spaces for w in ("y", "2", "?", "'s")]
    texts += [" " * n + "a" for n in range(3, 20)] + ["a" * n for n in (2, 31, 1000)]
    texts += [chr(c) for c in range(0x20)] + ["a" + chr(c) + "b" for c in range(0x20)]
    return texts


def mixtures(count, seed=7):
    draw = random.Random(seed)
    pieces = [p for t in hand_made() for p in t.split(" ")] + [" ", "  ", "\n", "1", "'", "\u0301"]
    pieces += ["<|im_start|>", "<|im_end|>", "<", ">", "|", "\u00e9", "\U0001f468", "\u200d", "The"]
    return ["".join(draw.choice(pieces) for _ in range(draw.randint(1, 12))) for _ in range(count)]


def prompts(folder):
    texts = []
    for name, key in (("gsm8k.jsonl", "question"), ("ifeval.jsonl", "prompt")):
        with open(os.path.join(folder, name), encoding="utf-8") as lines:
            texts += [json.loads(line)[key] for line in lines]
    return texts


def code_points():
    for code in range(0x110000):
        if not 0xD800 <= code <= 0xDFFF:
            c = chr(code)
            yield c
            yield f"a{c}b 1{c}2 {c} {c}{c}\n"


def oracle_of_gguf(path):
    import gguf
    fields = gguf.GGUFReader(path).fields
    tokens, kinds, merges, pre = (fields["tokenizer.ggml." + key].contents()
                                  for key in ("tokens", "token_type", "merges", "pre"))
    vocabulary = {token: at for at, token in enumerate(tokens)}
    oracle = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(m.split(" ")) for m in merges]))
    steps = {"smollm": [pre_tokenizers.Digits(individual_digits=True)], "gpt-2": []}[pre]
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False))
    oracle.pre_tokenizer = pre_tokenizers.Sequence(steps)
    oracle.decoder = decoders.ByteLevel()
    oracle.add_special_tokens([AddedToken(token, special=True, normalized=False)
                               for token, kind in zip(tokens, kinds) if kind in (3, 4)])
    return oracle


def compare(oracle, command, texts, special):
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run(command, shell=True, input=lines.encode(), stdout=subprocess.PIPE)
    ours = done.stdout.decode().splitlines()
    if done.returncode != 0 or len(ours) != len(texts):
        print(f"the command failed: status {done.returncode}, {len(ours)} of {len(texts)} lines")
        sys.exit(2)
    wrong = 0
    wanted = oracle.encode_batch(texts, add_special_tokens=special)
    for text, line, want in zip(texts, ours, wanted):
        if json.loads(line) != want.ids:
            wrong += 1
            if wrong <= 5:
                print(f"DIFFERENT {text!r}\n  ours {line}\n  HF   {want.ids} {want.tokens}")
    return wrong


def main():
    parse = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parse.add_argument("--oracle", help="a tokenizer.json")
    parse.add_argument("--gguf", help="a GGUF file to build the oracle from")
    parse.add_argument("--command", required=True)
    parse.add_argument("--prompts", help="folder with gsm8k.jsonl and ifeval.jsonl")
    parse.add_argument("--random", type=int, default=0, metavar="N")
    parse.add_argument("--exhaustive", action="store_true")
    parse.add_argument("--special", action="store_true", help="the command adds BOS and EOS")
    args = parse.parse_args()
    oracle = Tokenizer.from_file(args.oracle) if args.oracle else oracle_of_gguf(args.gguf)
    texts = hand_made() + mixtures(args.random)
    if args.prompts:
        texts += prompts(args.prompts)
    if args.exhaustive:
        texts += code_points()
    wrong = 0
    for at in range(0, len(texts), 500000):
        wrong += compare(oracle, args.command, texts[at:at + 500000], args.special)
    print(f"{len(texts)} texts, {wrong} different")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
