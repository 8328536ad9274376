"""Tokenizers of the default models, and samples as token ids with loss weights.

Promise: what `encode_sample` gives for the part before a reply is exactly what the finished
tokenizer gives for the prompt, so training sees the ids that a run sees.
"""

import json
import pathlib

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

BEGIN, END = "<|begin|>", "<|end|>"
SPECIAL = [BEGIN, END, "<|system|>", "<|user|>", "<|assistant|>"]
BEGIN_ID, END_ID = 0, 1
ENDS = range(1, len(SPECIAL))   # a reply ends at any of these: end, or another turn
# The last newline is an expression because Jinja drops a template's trailing one.
CHAT_TEMPLATE = ("{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}\n{% endfor %}"
                 '<|assistant|>{{ "\\n" }}')

# Loss weights, in sixteenths: text of the question is mostly noise, replies are what counts.
QUESTION, REPLY, PROSE = 1, 24, 16


def train_tokenizer(texts, vocab_size):
    """A byte-level BPE tokenizer; digits stay single. Prepends BOS."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, show_progress=False,
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A {BEGIN} $B", special_tokens=[(BEGIN, BEGIN_ID)])
    assert tokenizer.get_vocab_size() == vocab_size, tokenizer.get_vocab_size()
    assert [tokenizer.token_to_id(t) for t in SPECIAL] == list(range(len(SPECIAL)))
    return tokenizer


def tokenizer_config(context):
    """Text of tokenizer_config.json."""
    return json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context,
        "bos_token": BEGIN, "eos_token": END, "add_bos_token": True, "add_eos_token": False,
        "clean_up_tokenization_spaces": False, "chat_template": CHAT_TEMPLATE}, indent=2) + "\n"


def load_tokenizer(path):
    return Tokenizer.from_file(str(pathlib.Path(path)))


def chat_prompt(messages):
    """The chat template's text."""
    return "".join(f"<|{role}|>\n{content}\n" for role, content in messages) + "<|assistant|>\n"


def segments(sample):
    """A sample as [(text, weight)]; BOS and EOS are added by encode_samples."""
    if sample.messages is None:
        return [part for prompt, reply, _ in sample.text
                for part in ((prompt, QUESTION), (reply, REPLY))]
    parts, pending = [], ""
    for role, content in sample.messages:
        if role == "assistant":
            parts += [(pending + "<|assistant|>\n", QUESTION), (content, REPLY)]
            pending = "\n"
        else:
            pending += f"<|{role}|>\n{content}\n"
    return parts


def encode_samples(tokenizer, samples):
    """[(ids, weights)] of finished documents: BOS, the parts, EOS. A weight belongs to the token
    that is to be predicted."""
    parts = [segments(sample) for sample in samples]
    flat = tokenizer.encode_batch_fast([text for p in parts for text, _ in p],
                                       add_special_tokens=False)
    documents, at = [], 0
    for p in parts:
        ids, weights = [BEGIN_ID], [0]
        for _, weight in p:
            piece = flat[at].ids
            at += 1
            ids += piece
            weights += [weight] * len(piece)
        documents.append((ids + [END_ID], weights + [REPLY]))
    return documents
