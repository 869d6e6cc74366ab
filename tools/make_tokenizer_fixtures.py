#!/usr/bin/env python3
"""Writes what the Python package `tokenizers` makes of a corpus of difficult texts.

    pip install tokenizers
    tools/make_tokenizer_fixtures.py models/mini/tokenizer.json tests/data/text/tokenizer_mini_cases.json

The tests of src/text hold Tokenizer equal to the file.  For another tokenizer, write the file
anywhere and name both in PRECIS_TOKENIZER_JSON and PRECIS_TOKENIZER_CASES when running text_test.
The corpus is fixed: the same package version gives the same file.
"""
import argparse
import json
import random

import tokenizers

SENTENCES = [
    "",
    " ",
    "Hello, world!",
    "The quick brown fox doesn't jump over 13 lazy dogs; it's 2024-07-31, 12:45:09.",
    "1 12 123 1234 12345 1234567890 3.14159 1,000,000 0x1F ½ ٣٤٥ Ⅷ 一二三",
    "深度求索的模型，東京タワー。한국어 문장입니다. ひらがなカタカナ漢字",
    "Ελληνικά и русский, עברית العربية हिन्दी ไทย",
    "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🗼 e\u0301 n\u0303 a\u0300\u0301\u0302 Z͑ͫ̓ͪ̂ͫ̽",
    "   leading", "trailing   ", "a  b   c    d", "tabs\t\tand\n\n\nnewlines\r\n\r\n  mixed \n \t x",
    " \n", "\n ", "a \n", "a\n ", "\u00a0nbsp\u3000ideographic\u2003em\u200bzero\u180emongolian\ufeffbom",
    "\x85next\x0bvt\x0cff\x1cfs\x00nul\x7fdel",
    "def f(x: int) -> list[str]:\n    return [f\"{i:>{x}}\" for i in range(x)]  # ok\n",
    "int main() { for (int i = 0; i < n; ++i) a[i] += b[i] * c->d; /* ... */ return 0; }\n",
    "https://example.com/a?b=c&d=%20#frag user@example.org C:\\Users\\x \\n $100 €5 ±3",
    "\"quotes\" 'single' “curly” «guillemets» — em – en … … !!! ??? ((())) [[]] {{}}",
    "CamelCase snake_case SCREAMING_CASE kebab-case x1y2z3 a1 1a _a_ __init__ @dec #tag",
    "<｜begin▁of▁sentence｜><｜User｜>hi<｜Assistant｜><think>hm</think>yes<｜end▁of▁sentence｜>",
    "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
    "<think", "think>", "<<think>>", "<｜User", "｜User｜>", "<|User|>", "<｜ User ｜>", " <think> ",
    "<｜▁pad▁｜><｜latest_reminder｜><｜action｜><｜title｜>x<｜extracted_url｜>",
    "Pneumonoultramicroscopicsilicovolcanoconiosis", "aaaaaaaaaaaaaaaa" * 8, "ab" * 100,
    "x" * 1000, " " * 1000, "\n" * 500, "!" * 300, "1" * 301, "東" * 200, "é" * 200,
    "\ufffd", "a\ufffdb", "\U0010ffff\U000e0001\ue000",
]
INVALID = [
    b"\xff", b"a\xffb", b"\xc3", b"\xe6\x9d", b"\xe6\x9d\xb1\xe4", b"\xf0\x9f\x97\x20\xf0\x9f",
    b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"ok \x80\x81 ok \xfe\xff <think>\xe2\x82",
]
RANGES = [(0x20, 0x7F), (0x0, 0x20), (0x80, 0x250), (0x300, 0x370), (0x370, 0x600), (0x900, 0xE80),
          (0x2000, 0x2070), (0x20A0, 0x2BFF), (0x3000, 0x3100), (0x4E00, 0x4E40), (0x9FA0, 0xA000),
          (0xAC00, 0xAC40), (0xFB00, 0xFFFE), (0x1F300, 0x1F650), (0x20000, 0x20020)]


def random_texts(rng, count):
    for _ in range(count):
        text = ""
        while len(text) < rng.randrange(4, 60):
            kind = rng.randrange(6)
            if kind == 0:
                text += rng.choice(" \n\t\r") * rng.randrange(1, 5)
            elif kind == 1:
                text += "".join(rng.choice("0123456789") for _ in range(rng.randrange(1, 9)))
            elif kind == 2:
                text += rng.choice(SENTENCES[2:24])[:rng.randrange(1, 20)]
            else:
                low, high = rng.choice(RANGES)
                text += "".join(chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 7)))
        yield text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tokenizer")
    parser.add_argument("out")
    parser.add_argument("--random", type=int, default=150, help="number of random texts")
    args = parser.parse_args()

    with open(args.tokenizer, encoding="utf-8") as file:
        spec = json.load(file)
    parsing = tokenizers.Tokenizer.from_str(json.dumps(spec))
    plain = tokenizers.Tokenizer.from_str(json.dumps({**spec, "added_tokens": []}))
    rng = random.Random(46)

    inputs = [text.encode() for text in [*SENTENCES, *random_texts(rng, args.random)]] + INVALID
    encode = []
    for data in inputs:
        text = data.decode("utf-8", "replace")
        ids = parsing.encode(text, add_special_tokens=False).ids
        case = {"ids": ids, "as_text": plain.encode(text, add_special_tokens=False).ids}
        case.update({"text": text} if text.encode() == data else {"hex": data.hex()})
        if case["as_text"] == ids:
            del case["as_text"]
        encode.append(case)

    ids_in_use = sorted(parsing.get_vocab(with_added_tokens=True).values())
    specials = [token["id"] for token in spec["added_tokens"]]
    decode = []
    for _ in range(args.random):
        ids = [rng.choice(specials) if rng.random() < 0.1 else rng.choice(ids_in_use[:1000])
               if rng.random() < 0.7 else rng.choice(ids_in_use) for _ in range(rng.randrange(12))]
        if rng.random() < 0.1:
            ids.append(ids_in_use[-1] + rng.randrange(1, 100))
        decode.append({"ids": ids, "text": parsing.decode(ids, skip_special_tokens=False),
                       "skipped": parsing.decode(ids, skip_special_tokens=True)})

    with open(args.out, "w", encoding="utf-8") as file:
        file.write('{"made_with": %s,\n"encode": [\n' % json.dumps("tokenizers " + tokenizers.__version__))
        file.write(",\n".join(json.dumps(case, separators=(",", ":")) for case in encode))
        file.write('\n],\n"decode": [\n')
        file.write(",\n".join(json.dumps(case, separators=(",", ":")) for case in decode))
        file.write("\n]}\n")


if __name__ == "__main__":
    main()
