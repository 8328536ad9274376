"""Worker processes that draw, tokenize and pack training rows for as long as training runs.

Promise: a row is `row` ids of whole documents (the prose that fills a row may be cut), each
starting with BOS; weight[t] is the loss weight of predicting ids[t], in sixteenths.
A shard file is an .npz with ids uint16 (rows, row) and weights uint8 (rows, row).
Called by train.py. The draws depend on (seed, worker, shard) only.
"""

import os
import pathlib
import random
import subprocess
import sys
import time

import numpy as np

import procedural
import tokens

SHARD_ROWS = 512
PROSE_ROWS = 0.45       # share of rows that begin with a stretch of prose
MAX_AHEAD = 200         # shards on disk that nobody has read yet


def start_workers(corpus, vocab, row, folder, count, seed):
    """Starts `count` processes that fill `folder`; they end with the parent, or by terminate()."""
    environment = dict(os.environ, TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")
    return [subprocess.Popen([sys.executable, __file__, str(corpus), str(vocab), str(row),
                              str(folder), str(worker), str(seed)], env=environment)
            for worker in range(count)]


def work(corpus, vocab, row, folder, worker, seed):
    """One worker: shard after shard until the parent is gone."""
    corpus, folder, parent = pathlib.Path(corpus), pathlib.Path(folder), os.getppid()
    tokenizer = tokens.load_tokenizer(corpus / f"tokenizer-{vocab}.json")
    prose = np.load(corpus / f"prose-{vocab}.npz")
    source = (prose["ids"], prose["offsets"])
    shard = 0
    while os.getppid() == parent:
        if len(list(folder.glob("*.npz"))) > MAX_AHEAD:
            time.sleep(0.2)
            continue
        rng = random.Random(f"{seed}/{worker}/{shard}")
        ids, weights = make_shard(tokenizer, source, row, rng)
        temporary = folder / f"{worker}-{shard}.part"
        with open(temporary, "wb") as file:
            np.savez(file, ids=ids, weights=weights)
        temporary.rename(folder / f"{shard:05d}-{worker:02d}.npz")
        shard += 1


def make_shard(tokenizer, prose, row, rng, rows=SHARD_ROWS):
    """(ids, weights) of one shard."""
    ids = np.zeros((rows, row), np.uint16)
    weights = np.zeros((rows, row), np.uint8)
    waiting = []
    for r in range(rows):
        at = 0
        if rng.random() < PROSE_ROWS:
            at = put(ids[r], weights[r], at, *prose_piece(prose, rng, rng.randint(96, row)))
        at = fill_row(ids[r], weights[r], at, waiting, tokenizer, row, rng)
        if at < row:
            put(ids[r], weights[r], at, *prose_piece(prose, rng, row - at))
    return ids, weights


def fill_row(ids, weights, at, waiting, tokenizer, row, rng):
    """Puts waiting documents while one of the next few fits; returns the end."""
    while True:
        if len(waiting) < 16:
            waiting += draw(tokenizer, rng, 512, row)
        room = row - at
        fit = next((i for i in range(1, 9) if len(waiting[-i][0]) <= room), None)
        if fit is None:
            return at
        at = put(ids, weights, at, *waiting.pop(-fit))


def draw(tokenizer, rng, count, row):
    """Documents of the mixture, none longer than a row."""
    names, shares = zip(*procedural.MIXTURE.items())
    chosen = rng.choices(names, shares, k=count)
    samples = [procedural.sample(name, rng, "train") for name in chosen]
    return [d for d in tokens.encode_samples(tokenizer, samples) if len(d[0]) <= row]


def put(ids, weights, at, new_ids, new_weights):
    """Writes a document into a row; returns the position after it."""
    end = at + len(new_ids)
    ids[at:end], weights[at:end] = new_ids, new_weights
    return end


def prose_piece(prose, rng, length):
    """BOS and up to length - 1 ids of one prose document; EOS only where the document ends."""
    ids, offsets = prose
    document = int(np.searchsorted(offsets, rng.randrange(len(ids)), side="right")) - 1
    begin, end = int(offsets[document]), int(offsets[document + 1])
    start = begin if rng.random() < 0.2 else rng.randrange(begin, max(begin + 1, end - 32))
    piece = [tokens.BEGIN_ID] + ids[start:min(end, start + length - 1)].tolist()
    weights = [0] + [tokens.PROSE] * (len(piece) - 1)
    while len(piece) < length:  # a short document: end it and begin the next
        piece.append(tokens.END_ID)
        weights.append(tokens.PROSE)
        room = length - len(piece)
        start = rng.randrange(max(1, len(ids) - room))
        more = ([tokens.BEGIN_ID] + ids[start:start + room - 1].tolist())[:room]
        piece += more
        weights += ([0] + [tokens.PROSE] * room)[:len(more)]
    return piece, weights


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5]),
         int(sys.argv[6]))
