"""A server with the HTTP interface of OpenAI as vLLM and SGLang offer it, as an external engine.

Set-up: none here (standard library); a server that runs, or its command as option `start`. Options
and limits: README.md.

A row is what a user of the server gets: the token and the returned log-probabilities, with exactly
the digits that the server sent. How many requests ran together is what its own /metrics say.
"""
import contextlib
import http.client
import json
import re
import shlex
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse

import isobit_exec
from isobit_exec import Broken, Refused, Unavailable

isobit_exec.leave_folder(__file__)  # this file is not the package openai

OPTIONS = ("url", "model", "api", "top", "start", "wait")
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
RUNNING = ("vllm:num_requests_running", "sglang:num_running_reqs")
POLL_S = 0.02


class OpenAI(isobit_exec.Adapter):
    engine = "openai"
    batching = "concurrent"
    child = None
    server = None
    claim = None  # on the server's place, against other adapters that would start one there

    def hello(self, options):
        isobit_exec.known(options, OPTIONS)
        self.api = isobit_exec.choice(options, "api", ["completions", "generate"], "completions")
        self.top = isobit_exec.whole(options, "top", 5)
        self.wait_s = isobit_exec.whole(options, "wait", 300, 1)
        self.model = options.get("model")
        self.start = read_command(options.get("start", ""))
        self.server = Server(options.get("url", "http://127.0.0.1:8000"))
        axes = {"batch": True, "seed": True}
        if self.start:
            axes["device"] = ["cpu", "cuda"]  # whichever the command says
            if shutil.which(self.start[0]) is None:
                raise Unavailable(f"there is no program {self.start[0]}")
            version = self.api + ", server started by the adapter"
            if any("{dtype}" in word for word in self.start):
                axes["precision"] = list(DTYPES)
        elif not self.server.answers(seconds=10):
            raise Unavailable(f"no server answers at {self.server.url}: start one, or give its "
                              "command as option start")
        else:
            version = f"{self.api}, {self.server.version()}"
            axes |= {name: [value] for name, value in self.server.facts().items()}
        return {"version": version, "axes": axes, "evidence": "logprobs" if self.top else "tokens"}

    def load(self, request):
        self.vocab_size = request["model"]["vocab_size"]
        if self.start:
            self._start_server(request)
        if self.model is None and self.api == "completions":
            models = self.server.ask("GET", "/v1/models").get("data", [])
            if not models:
                raise Refused(f"the server at {self.server.url} names no model")
            self.model = models[0]["id"]
        self.what_runs = f"{self.server.version()}, {self.api}"
        self.told = self.server.facts()
        self.metrics = Metrics(self.server)

    def generate(self, request, answer):
        if len(request["sequences"]) != 1:
            raise Refused("a request has one sequence here: the server makes the batches")
        sequence = request["sequences"][0]
        if sequence.get("teacher"):
            raise Refused("the server draws its tokens itself: no teacher can be followed")
        ask = completions if self.api == "completions" else native
        with self.metrics.watch() as seen:
            try:
                rows, cached = ask(self.server, self.model, sequence["prompt"], request, self.top)
            except OSError as why:
                raise self._lost(why) from why
        if self.child is not None and self.child.poll() is not None:
            raise Broken(self._not_ours())
        for step, (token, logprob, top) in enumerate(rows):
            if not 0 <= token < self.vocab_size:
                raise Refused(f"the server's token {token} is not in the model's vocabulary of "
                              f"{self.vocab_size}: it may serve another model")
            answer.row(0, len(sequence["prompt"]) - 1 + step, token, logprob=logprob, top=top)
        observed = {"steps": len(rows), "chunks": 1, "kernels": self.what_runs} | self.told
        if seen.running is not None:
            observed["live_rows"] = seen.running
        if seen.cached is not None:
            observed["cached_reads"] = seen.cached
        if cached is not None:
            observed["prefix_hits"] = cached
        return observed

    def close(self):
        if self.child is not None:
            isobit_exec.end_child(self.child)

    def _start_server(self, request):
        if self.server.answers(seconds=1):
            raise Refused(f"something answers at {self.server.url} already, before the server of "
                          "option start was started")
        if self.claim is None:
            self.claim = self.server.claim()
        values = {"{model}": request["model"]["path"], "{dtype}": DTYPES[request["precision"]],
                  "{threads}": str(request.get("threads", 1))}
        command = [re.sub(r"\{(model|dtype|threads)\}", lambda m: values[m[0]], word)
                   for word in self.start]
        self.child = isobit_exec.start_child(command)
        end = time.monotonic() + self.wait_s
        while not self.server.answers(seconds=5):
            if self.child.poll() is not None:
                raise Refused(f"the server ended with exit code {self.child.returncode} before it "
                              "answered")
            if time.monotonic() > end:
                raise Refused(f"the server did not answer at {self.server.url} within "
                              f"{self.wait_s} s (option wait)")
            time.sleep(0.1)
        if self.child.poll() is not None:
            raise Refused(self._not_ours())

    def _not_ours(self) -> str:
        return (f"something answers at {self.server.url}, but the server of option start ended "
                f"with exit code {self.child.returncode}: the answers are not its own")

    def _lost(self, why) -> Exception:
        """A server of ours that is gone takes the process along: the next one starts another."""
        if self.child is None:
            return Refused(f"the server at {self.server.url}: {why}")
        try:
            code = self.child.wait(timeout=1)
        except subprocess.TimeoutExpired:  # it runs, but does not answer
            return Broken(f"the server at {self.server.url} does not answer any more: {why}")
        return Broken(f"the server ended with exit code {code}")


class Server:
    """Requests over HTTP, one connection for each. Numbers in replies stay the texts they were."""

    def __init__(self, url: str):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refused(f"option url is http://HOST:PORT, not {json.dumps(url)}")
        self.url = url
        self._kind = (http.client.HTTPSConnection if parts.scheme == "https"
                      else http.client.HTTPConnection)
        self._place = (parts.hostname, parts.port)
        self._base = parts.path.rstrip("/").removesuffix("/v1")

    def fetch(self, method: str, path: str, body: dict | None = None,
              seconds: float | None = None) -> tuple[int, bytes]:
        """(status, body); raises OSError when there is no answer."""
        connection = self._kind(*self._place, timeout=seconds)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, self._base + path, text,
                               {"Content-Type": "application/json"} if body else {})
            reply = connection.getresponse()
            return reply.status, reply.read()
        except http.client.HTTPException as why:
            raise OSError(f"no HTTP answer ({type(why).__name__})") from why
        finally:
            connection.close()

    def ask(self, method: str, path: str, body: dict | None = None,
            seconds: float | None = None) -> dict:
        """The reply, an object of JSON."""
        status, text = self.fetch(method, path, body, seconds)
        shown = text[:300].decode(errors="replace").strip()
        if status != 200:
            raise Refused(f"{path} answered with status {status}: {shown}")
        try:
            reply = json.loads(text, parse_float=str, parse_int=str, parse_constant=not_json)
        except ValueError as why:
            raise Refused(f"{path} answered with what is not JSON ({why}): {shown}") from None
        if not isinstance(reply, dict):
            raise Refused(f"{path} answered with what is no object: {shown}")
        return reply

    def answers(self, seconds: float) -> bool:
        for path in ("/health", "/v1/models"):
            try:
                if self.fetch("GET", path, seconds=seconds)[0] == 200:
                    return True
            except OSError:
                pass
        return False

    def claim(self) -> socket.socket:
        """Something that only one process of this machine has at a time, until it ends."""
        port = self._place[1] or self._kind.default_port
        held = socket.socket(socket.AF_UNIX)
        try:
            held.bind(f"\0isobit openai {port}")
        except OSError:
            held.close()
            raise Refused(f"another adapter starts or has started a server at {self.url}") from None
        return held

    def version(self) -> str:
        """The server's own name for itself, as far as it gives one."""
        for path, name in (("/version", "vllm"), ("/server_info", "sglang"),
                           ("/get_server_info", "sglang")):
            try:
                return f"{name} {self.ask('GET', path, seconds=5)['version']}"
            except (OSError, Refused, KeyError):
                continue
        return "server without a version"

    def facts(self) -> dict:
        """What SGLang tells of itself; vLLM tells nothing of this."""
        for path in ("/server_info", "/get_server_info"):
            try:
                told = self.ask("GET", path, seconds=5)
            except (OSError, Refused):
                continue
            by_dtype = {dtype: precision for precision, dtype in DTYPES.items()}
            facts = {"device": told.get("device"), "precision": by_dtype.get(told.get("dtype"))}
            return {name: value for name, value in facts.items() if isinstance(value, str)}
        return {}


def not_json(word: str):
    raise ValueError(f"{word} is no number of JSON")


# The two interfaces. Each returns ([(token, log-probability, [(token, log-probability)])],
# positions served from another request's cache or None).

def completions(server: Server, model: str, prompt: list[int], request: dict, top: int):
    sampling = request.get("sampling") or {"temperature": 0}
    body = {"model": model, "prompt": prompt, "max_tokens": request["max_new_tokens"],
            "temperature": sampling["temperature"], "top_p": sampling.get("top_p", 1.0),
            "top_k": sampling.get("top_k") or -1, "repetition_penalty": 1.0,
            "stop_token_ids": request["eos"], "ignore_eos": True, "skip_special_tokens": False,
            "return_tokens_as_token_ids": True, "return_token_ids": True}
    if "seed" in sampling:
        body["seed"] = sampling["seed"]
    if top:
        body["logprobs"] = top
    reply = server.ask("POST", "/v1/completions", body)
    try:
        choice = reply["choices"][0]
        details = (reply.get("usage") or {}).get("prompt_tokens_details") or {}
        cached = int(details["cached_tokens"]) if "cached_tokens" in details else None
        if not top:
            if choice.get("token_ids") is None:
                raise Refused("the server gives no token_ids; with option top from 1 on they come "
                              "from the log-probabilities")
            return [(int(token), None, ()) for token in choice["token_ids"]], cached
        told = choice["logprobs"]
        return [(token_id(token), logprob,
                 [(token_id(other), value) for other, value in (best or {}).items()])
                for token, logprob, best in zip(told["tokens"], told["token_logprobs"],
                                                told["top_logprobs"], strict=True)], cached
    except (KeyError, IndexError, TypeError, ValueError) as why:
        raise Refused(f"/v1/completions: the reply is not as expected ({why!r})") from why


def token_id(text: str) -> int:
    found = re.fullmatch(r"token_id:([0-9]+)", text)
    if not found:
        raise Refused(f"the server names tokens by text ({json.dumps(text)}) and not by id; SGLang "
                      "names ids with option api: generate")
    return int(found[1])


def native(server: Server, _model, prompt: list[int], request: dict, top: int):
    sampling = request.get("sampling") or {"temperature": 0}
    body = {"input_ids": prompt, "return_logprob": top > 0, "top_logprobs_num": top,
            "return_text_in_logprobs": False,
            "sampling_params": {
                "max_new_tokens": request["max_new_tokens"],
                "temperature": sampling["temperature"], "top_p": sampling.get("top_p", 1.0),
                "top_k": sampling.get("top_k") or -1, "stop_token_ids": request["eos"],
                "ignore_eos": True, "skip_special_tokens": False}}
    if "seed" in sampling:
        body["sampling_params"]["sampling_seed"] = sampling["seed"]
    reply = server.ask("POST", "/generate", body)
    try:
        told = reply["meta_info"]
        cached = int(told["cached_tokens"]) if "cached_tokens" in told else None
        if top:
            return [(int(token), logprob, [(int(other), value) for value, other, *_ in best or ()])
                    for (logprob, token, *_), best in zip(
                        told["output_token_logprobs"], told["output_top_logprobs"],
                        strict=True)], cached
        tokens = [int(token) for token in reply["output_ids"]]
        matched = (told.get("finish_reason") or {}).get("matched")
        if isinstance(matched, str) and tokens[-1:] != [int(matched)]:  # the stop token was trimmed
            tokens.append(int(matched))
        return [(token, None, ()) for token in tokens], cached
    except (KeyError, IndexError, TypeError, ValueError) as why:
        raise Refused(f"/generate: the reply is not as expected ({why!r})") from why


# What the server says of itself while requests are open.

class Seen:
    """The largest values that were seen while one request was open; None: the server told none."""
    running: int | None = None
    cached: int | None = None


class Metrics:
    """Reads /metrics again and again while requests are open."""

    def __init__(self, server: Server):
        self._server = server
        self._open: set[Seen] = set()
        self._changed = threading.Condition()
        threading.Thread(target=self._poll, daemon=True).start()

    @contextlib.contextmanager
    def watch(self):
        """Gives a Seen that is kept up to date inside the with statement."""
        seen = Seen()
        with self._changed:
            self._open.add(seen)
            self._changed.notify()
        try:
            yield seen
        finally:
            with self._changed:
                self._open.discard(seen)

    def _poll(self):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._open)
                before = set(self._open)
            try:
                status, text = self._server.fetch("GET", "/metrics", seconds=5)
            except OSError:
                status, text = 0, b""
            if status == 200:
                running, cached = read_metrics(text.decode(errors="replace"))
                with self._changed:
                    for seen in before & self._open:  # open during the whole look
                        seen.running = larger(seen.running, running)
                        seen.cached = larger(seen.cached, cached)
            time.sleep(POLL_S)


def read_metrics(text: str) -> tuple[int | None, int | None]:
    """(requests that run, positions in the cache); each engine of a server that has several makes
    its own batches, so the largest counts."""
    running = cached = None
    usage, places = None, None
    for name, labels, value in re.findall(r"^([\w:]+)(\{.*\})? ([-+.\deE]+)", text, re.M):
        if name in RUNNING:
            running = larger(running, int(float(value)))
        elif name == "sglang:num_used_tokens":
            cached = larger(cached, int(float(value)))
        elif name == "vllm:kv_cache_usage_perc":
            usage = larger(usage, float(value))
        elif name == "vllm:cache_config_info":
            sizes = dict(re.findall(r'(block_size|num_gpu_blocks)="(\d+)"', labels))
            if len(sizes) == 2:
                places = int(sizes["block_size"]) * int(sizes["num_gpu_blocks"])
    if usage is not None and places is not None:
        cached = round(usage * places)
    return running, cached


def larger(a, b):
    return b if a is None else a if b is None else max(a, b)


def read_command(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as why:
        raise Refused(f"option start is a command ({why}): {json.dumps(text)}") from None


if __name__ == "__main__":
    isobit_exec.serve(OpenAI())
