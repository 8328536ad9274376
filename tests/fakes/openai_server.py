#!/usr/bin/env python3
"""A small deterministic server with the HTTP interface of vLLM and SGLang, for tests of the adapter
openai. Standard library only.

  openai_server.py --port N [--gather S] [--batch N] [--hold S] [--fault NAME] …

Tokens and log-probabilities are hashes of the tokens before them (and of the seed when sampling),
so that any number of servers agree. Requests run as one batch when none came for --gather seconds,
or when --batch are there; the gauge of running requests shows it for --hold seconds.
Log-probabilities have more digits than a double keeps. Faults:
  batch-logprobs   log-probabilities depend on the size of the batch; tokens do not
  lifetime         log-probabilities depend on the process; tokens do not
  seed             tokens depend on the process
  crash            the process ends with code 3 after --after requests
  not-json         replies are no JSON
  texts            tokens are named by texts, whatever was asked
"""
import argparse
import contextlib
import hashlib
import http.server
import json
import os
import threading
import time

BLOCK_SIZE, BLOCKS = 16, 4096  # of the cache that the metrics tell of


class Engine:
    """Makes batches of the requests that wait, one batch at a time."""

    def __init__(self, options):
        self.options = options
        self.running = self.cached = self.finished = 0
        self._waiting = []
        self._changed = threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    def generate(self, prompt, count, stop, seed, top):
        """[(token, log-probability as text, [(token, text)])]."""
        job = {"prompt": prompt, "done": threading.Event()}
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()
        job["done"].wait()
        rows, tokens = [], list(prompt)
        for _ in range(count):
            rows.append(self._row(tokens, seed, top, job["batch"]))
            tokens.append(rows[-1][0])
            if tokens[-1] in stop:
                break
        return rows

    def _run(self):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                count = 0
                while count < len(self._waiting) < self.options.batch:
                    count = len(self._waiting)
                    self._changed.wait_for(lambda: len(self._waiting) > count, self.options.gather)
                most = self.options.batch
                batch, self._waiting = self._waiting[:most], self._waiting[most:]
                self.running = len(batch)
                self.cached = sum(len(job["prompt"]) for job in batch)
            time.sleep(self.options.hold)
            self.running = self.cached = 0
            self.finished += len(batch)
            if self.options.fault == "crash" and self.finished > self.options.after:
                os._exit(3)
            for job in batch:
                job["batch"] = len(batch)
                job["done"].set()

    def _row(self, tokens, seed, top, batch):
        fault, vocab = self.options.fault, self.options.vocab
        salt = os.getpid() if fault == "seed" else 0
        best = [number(f"token {salt} {seed} {tokens} {place}") % vocab for place in range(top + 1)]
        salt = {"batch-logprobs": batch, "lifetime": os.getpid()}.get(fault, 0)
        values = [f"-{place}.{number(f'value {salt} {tokens} {place}'):020}"
                  for place in range(top + 1)]
        return best[0], values[0], list(zip(best, values))[:top]


def number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def completions(engine: Engine, body: dict) -> str:
    top, texts = body.get("logprobs") or 0, engine.options.fault == "texts"
    seed = body.get("seed", 0) if body["temperature"] > 0 else 0
    rows = engine.generate(body["prompt"], body["max_tokens"], body["stop_token_ids"], seed, top)
    ids = body.get("return_tokens_as_token_ids") and not texts

    def name(token):
        return f'"token_id:{token}"' if ids else f'" word{token}"'

    best = ", ".join("{" + ", ".join(f"{name(t)}: {v}" for t, v in row[2]) + "}" for row in rows)
    logprobs = "null" if not top else (
        f'{{"tokens": [{", ".join(name(row[0]) for row in rows)}], '
        f'"token_logprobs": [{", ".join(row[1] for row in rows)}], "top_logprobs": [{best}]}}')
    token_ids = json.dumps([row[0] for row in rows]) if body.get("return_token_ids") else "null"
    return (f'{{"model": "fake", "choices": [{{"index": 0, "text": "…", "token_ids": {token_ids}, '
            f'"logprobs": {logprobs}, "finish_reason": "length"}}], "usage": '
            f'{{"completion_tokens": {len(rows)}, "prompt_tokens_details": null}}}}')


def native(engine: Engine, body: dict) -> str:
    sampling, top = body["sampling_params"], body["top_logprobs_num"]
    seed = sampling.get("sampling_seed", 0) if sampling["temperature"] > 0 else 0
    stop = sampling["stop_token_ids"]
    rows = engine.generate(body["input_ids"], sampling["max_new_tokens"], stop, seed, top)
    tokens = [row[0] for row in rows]
    reason = {"type": "length"}
    if tokens[-1] in stop:  # its own form of the answer: the stop token is trimmed
        reason = {"type": "stop", "matched": tokens.pop()}
    drawn = ", ".join(f"[{value}, {token}, null]" for token, value, _ in rows)
    best = ", ".join("[" + ", ".join(f"[{v}, {t}, null]" for t, v in row[2]) + "]" for row in rows)
    logprobs = (f', "output_token_logprobs": [{drawn}], "output_top_logprobs": [{best}]'
                if body["return_logprob"] else "")
    return (f'{{"text": "…", "output_ids": {json.dumps(tokens)}, "meta_info": '
            f'{{"cached_tokens": 0, "finish_reason": {json.dumps(reason)}{logprobs}}}}}')


def metrics(engine: Engine) -> str:
    blocks = -(-engine.cached // BLOCK_SIZE)
    return "\n".join([
        "# TYPE vllm:num_requests_running gauge",
        f'vllm:num_requests_running{{engine="0",model_name="fake"}} {float(engine.running)}',
        'vllm:num_requests_running{engine="1",model_name="fake"} 0.0',
        f'vllm:kv_cache_usage_perc{{engine="0",model_name="fake"}} {blocks / BLOCKS}',
        f'vllm:cache_config_info{{block_size="{BLOCK_SIZE}",num_gpu_blocks="{BLOCKS}"}} 1.0', ""])


class Handler(http.server.BaseHTTPRequestHandler):
    engine: Engine

    def do_GET(self):
        options = self.engine.options
        time.sleep(options.slow)
        if self.path == "/health":
            self.reply("")
        elif self.path == "/version":
            self.reply('{"version": "0.0.fake"}')
        elif self.path == "/v1/models":
            self.reply('{"object": "list", "data": [{"id": "fake", "object": "model"}]}')
        elif self.path == "/server_info" and (options.device or options.dtype):
            self.reply(json.dumps({"device": options.device, "dtype": options.dtype}))
        elif self.path == "/metrics" and not options.no_metrics:
            self.reply(metrics(self.engine), kind="text/plain")
        else:
            self.reply('{"detail": "Not Found"}', status=404)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        make = {"/v1/completions": completions, "/generate": native}.get(self.path)
        if make is None:
            self.reply('{"detail": "Not Found"}', status=404)
        elif self.path == "/v1/completions" and body["model"] != "fake":
            self.reply(f'{{"error": {{"message": "no model {body["model"]}"}}}}', status=404)
        else:
            text = make(self.engine, body)
            self.reply("<html>busy</html>" if self.engine.options.fault == "not-json" else text)

    def reply(self, text: str, status=200, kind="application/json"):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        with contextlib.suppress(ConnectionError):  # who asked waits no more
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *_):
        pass


class HttpServer(http.server.ThreadingHTTPServer):
    request_queue_size = 256  # connections that wait: all of a test's requests come at once


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--vocab", type=int, default=1000)
    parser.add_argument("--gather", type=float, default=0.05, help="seconds")
    parser.add_argument("--batch", type=int, default=1000, help="most requests of a batch")
    parser.add_argument("--hold", type=float, default=0.1, help="seconds")
    parser.add_argument("--fault", default="", choices=[
        "", "batch-logprobs", "lifetime", "seed", "crash", "not-json", "texts"])
    parser.add_argument("--after", type=int, default=0, help="requests before the crash")
    parser.add_argument("--no-metrics", action="store_true")
    parser.add_argument("--slow", type=float, default=0, help="seconds before GET is answered")
    parser.add_argument("--device", help="told as SGLang does")
    parser.add_argument("--dtype", help="told as SGLang does")
    options = parser.parse_args()
    Handler.engine = Engine(options)
    HttpServer(("127.0.0.1", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
