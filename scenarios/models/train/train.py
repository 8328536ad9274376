"""Trains default-7m or nano-300k in a given time on one GPU and writes the finished files.

    python3 scenarios/models/train/train.py --model default-7m --minutes 7 --out OUT

Promise: the schedule follows the clock (warm-up, constant, linear to zero), so a slower machine
trains on fewer tokens and still ends well; files are written once, at the end, with the weights
already rounded to the saved type and measured in it. The draws are seeded; the bits of a GPU
training run are not repeatable, which is why the weights themselves are what the project keeps.
"""

import argparse
import json
import pathlib
import shutil
import sys
import tempfile
import time

import numpy as np
import torch

import evaluate
import model as llama
import muon
import pack
import tokens
import unlikelihood

HERE = pathlib.Path(__file__).resolve().parent


class Rows:
    """The workers' shards on the device; every row once, old rows again when none is new."""

    def __init__(self, folder, device):
        self.folder, self.device, self.shards, self.queue = folder, device, [], []
        self.at, self.current, self.reused, self.taken = 0, None, 0, 0

    def poll(self, limit=8):
        for path in sorted(self.folder.glob("*.npz"))[:limit]:
            with np.load(path) as data:
                shard = (torch.from_numpy(data["ids"].astype(np.int16)).to(self.device),
                         torch.from_numpy(data["weights"]).to(self.device))
            path.unlink()
            self.shards.append(shard)
            self.queue.append(shard)

    def wait(self, count):
        while len(self.shards) < count:
            self.poll()
            time.sleep(0.05)

    def batch(self, rows):
        if self.current is None or self.at + rows > len(self.current[0]):
            fresh = bool(self.queue)
            self.reused += not fresh
            self.taken += 1
            self.current = (self.queue.pop(0) if fresh else
                            self.shards[int(torch.randint(len(self.shards), ()))])
            self.at = 0
        ids, weights = (t[self.at:self.at + rows] for t in self.current)
        self.at += rows
        return ids.long(), weights


class Documents:
    """Attention inside documents only: flex attention on a GPU, a dense mask elsewhere."""

    def __init__(self, rows, length, device, kind):
        self.kind, self.mask = kind, None
        self.document = torch.zeros((rows, length), dtype=torch.int32, device=device)
        if kind == "flex":
            from torch.nn.attention import flex_attention
            self.flex = flex_attention
            document = self.document
            def same(b, h, q, k):
                return (q >= k) & (document[b, q] == document[b, k])
            self.same = same

    def update(self, ids):
        """Called before a batch; the buffer stays the same object, so nothing recompiles."""
        self.document.copy_((ids == tokens.BEGIN_ID).cumsum(1))
        rows, length = ids.shape
        if self.kind == "flex":
            self.mask = self.flex.create_block_mask(self.same, rows, None, length, length,
                                                    device=ids.device)
        elif self.kind == "dense":
            self.mask = dense_mask(self.document)

    def attend(self, mask):
        """The function that Attention calls."""
        if self.kind == "causal":
            return llama.causal
        if self.kind == "flex":
            return lambda q, k, v: self.flex.flex_attention(q, k, v, block_mask=mask,
                                                            enable_gqa=True)
        def dense(q, k, v):
            groups = q.shape[1] // k.shape[1]
            return torch.nn.functional.scaled_dot_product_attention(
                q, k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1), attn_mask=mask)
        return dense


def dense_mask(document):
    """(rows, 1, length, length), true where a key may be seen."""
    same = document[:, :, None] == document[:, None, :]
    return (same & same.new_ones(same.shape[1:]).tril())[:, None]


def build_step(model, rows, length, device, kind):
    """(documents, function ids, weights -> loss); compiled on a GPU."""
    documents = Documents(rows, length, device, kind)
    def loss(ids, weights, mask):
        return model.loss(ids, weights, documents.attend(mask))
    return documents, torch.compile(loss, dynamic=False) if device == "cuda" else loss


def choose_attention(model, data, arguments, device):
    """The first attention that runs and agrees with a dense mask; said aloud."""
    kinds = ["flex", "dense", "causal"] if device == "cuda" else ["dense"]
    ids, weights = data.batch(arguments.rows)
    for kind in kinds:
        try:
            documents, loss = build_step(model, arguments.rows, arguments.row, device, kind)
            documents.update(ids)
            got = loss(ids, weights, documents.mask)
            got.backward()
            if kind == "flex":
                check_attention(model, ids[:4], weights[:4], documents)
            print(f"attention: {kind}, first loss {float(got.detach()):.4f}", flush=True)
            model.zero_grad(set_to_none=True)
            return documents, loss, kind
        except Exception as error:  # the next kind is tried; the last one's error is raised
            if kind == kinds[-1]:
                raise
            print(f"attention: {kind} refused: {type(error).__name__}: {str(error)[:500]}",
                  flush=True)
            torch._dynamo.reset()
            model.zero_grad(set_to_none=True)


def check_attention(model, ids, weights, documents):
    """Flex attention against a dense mask on a few random rows; raises when they disagree."""
    generator = torch.Generator(ids.device).manual_seed(1)
    c, length = model.c, ids.shape[1]
    rows = documents.document.shape[0]
    q, k, v = (torch.randn((rows, heads, length, c.head_dim), generator=generator,
                           device=ids.device, dtype=torch.bfloat16)
               for heads in (c.heads, c.kv_heads, c.kv_heads))
    flex = torch.compile(documents.attend(documents.mask), dynamic=False)(q, k, v)[:4]
    dense = torch.nn.functional.scaled_dot_product_attention(
        q[:4], k[:4], v[:4], attn_mask=dense_mask(documents.document[:4]), enable_gqa=True)
    worst = float((flex.float() - dense.float()).abs().max())
    if not worst < 0.05:
        raise RuntimeError(f"flex attention is off by {worst}")


def schedule(progress):
    """Warm-up for 3 %, constant, then linear to zero from 45 % of the time on."""
    return min(1.0, progress / 0.03) * min(1.0, max(0.0, (1.0 - progress) / 0.55))


def train(model, arguments, device, log):
    """The loop. Returns facts for the card."""
    started = time.perf_counter()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="rows-"))
    workers = pack.start_workers(arguments.corpus, model.c.vocab, arguments.row, folder,
                                 arguments.workers, arguments.seed)
    data = Rows(folder, device)
    data.wait(2)
    print(f"first rows after {time.perf_counter() - started:.1f} s", flush=True)
    documents, loss_of, kind = choose_attention(model, data, arguments, device)
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and n != "embed_tokens"]
    others = [p for n, p in model.named_parameters() if p.ndim == 1 or n == "embed_tokens"]
    hidden = muon.Muon(matrices, lr=arguments.lr)
    adam = torch.optim.AdamW(others, lr=arguments.adam_lr, betas=(0.9, 0.95), weight_decay=0.0,
                             fused=device == "cuda")
    prose = np.load(arguments.corpus / f"prose-{model.c.vocab}.npz")["ids"]
    repetition = unlikelihood.Repetition(model, prose, device, arguments)
    begun, budget = time.perf_counter(), arguments.minutes * 60.0
    budget -= begun - started
    print(f"compiled after {begun - started:.1f} s", flush=True)
    step, progress = 0, 0.0
    while progress < 1.0:
        ids, weights = data.batch(arguments.rows)
        documents.update(ids)
        loss = loss_of(ids, weights, documents.mask)
        loss.backward()
        if progress > arguments.unlikelihood_from:
            repetition.backward(step)
        scale = schedule(progress)
        for group in adam.param_groups:
            group["lr"] = arguments.adam_lr * scale
        hidden.step(scale)
        adam.step()
        model.zero_grad(set_to_none=True)
        model.fix_sink()
        step += 1
        if step % 20 == 0 or device == "cpu":
            data.poll()
            value = float(loss.detach())
            progress = (time.perf_counter() - begun) / budget
            if step % arguments.log_every == 0:
                log.append([step, round(progress, 4), round(value, 4), round(scale, 4)])
                rate = step * arguments.rows * arguments.row / (time.perf_counter() - begun)
                print(f"step {step} {100 * progress:.1f} % loss {value:.4f} {rate / 1e6:.2f} "
                      f"Mtok/s reused {data.reused}/{data.taken} rep {repetition.rate:.3f}",
                      flush=True)
    for worker in workers:
        worker.terminate()
    shutil.rmtree(folder, ignore_errors=True)
    return {"steps": step, "tokens": step * arguments.rows * arguments.row, "attention": kind,
            "seconds": round(time.perf_counter() - started, 1),
            "shards_reused": data.reused, "shards_taken": data.taken}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=sorted(llama.CONFIGS), required=True)
    parser.add_argument("--minutes", type=float, required=True, help="compile included")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--corpus", type=pathlib.Path, default=HERE / "corpus")
    parser.add_argument("--rows", type=int, default=128, help="of a batch")
    parser.add_argument("--row", type=int, default=1024, help="tokens of a row")
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.02, help="Muon, for the matrices")
    parser.add_argument("--adam-lr", type=float, default=3e-3, help="AdamW, for the rest")
    parser.add_argument("--unlikelihood", type=float, default=1.0, help="weight, 0: off")
    parser.add_argument("--unlikelihood-from", type=float, default=0.7, help="share of the time")
    parser.add_argument("--log-every", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="measure a few prompts only")
    return parser.parse_args()


def main():
    arguments = parse()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(arguments.seed)
    torch.set_float32_matmul_precision("high")
    config = llama.CONFIGS[arguments.model]
    compute = torch.bfloat16 if device == "cuda" else torch.float32
    model = llama.Model(config, compute).to(device)
    log = []
    facts = train(model, arguments, device, log)
    llama.round_weights(model)
    if config.dtype == "float32":  # measured as it is saved
        model.compute = torch.float32
        torch.set_float32_matmul_precision("highest")
    out = arguments.out / config.name
    llama.save(model, out)
    corpus = arguments.corpus
    shutil.copy(corpus / f"tokenizer-{config.vocab}.json", out / "tokenizer.json")
    (out / "tokenizer_config.json").write_text(tokens.tokenizer_config(config.context))
    facts.update(parameters=sum(p.numel() for p in model.parameters()), command=command(),
                 arguments={k: str(v) for k, v in vars(arguments).items()
                            if k not in ("out", "corpus")},
                 device=torch.cuda.get_device_name() if device == "cuda" else "cpu",
                 torch=torch.__version__, loss_columns=["step", "time", "loss", "lr"],
                 loss_curve=log[::max(1, len(log) // 60)] + log[-1:])
    write_facts(out, facts)
    facts["measured"] = evaluate.measure(model, out / "tokenizer.json", arguments.quick)
    facts["transformers"] = evaluate.check_transformers(model, out)
    write_facts(out, facts)
    print(json.dumps({"measured": facts["measured"], "transformers": facts["transformers"]},
                     indent=1), flush=True)


def command():
    """The arguments without places of this machine."""
    words, skip = [], False
    for word in sys.argv[1:]:
        if skip or word in ("--out", "--corpus"):
            skip = not skip
        else:
            words.append(word)
    return words


def write_facts(out, facts):
    (out / "training.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
