"""Speaks the protocol of external engines (runtime/backends/exec/PROTOCOL.md) with a program, as
isobit does. Standard library only; for tests and benchmarks of adapters.
"""
import array
import collections
import json
import os
import pathlib
import subprocess
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
ADAPTERS = ROOT / "runtime/backends/exec/adapters"
_decode = json.JSONDecoder(parse_float=str).decode  # digits stay as they were sent


class Engine:
    """A program that speaks the protocol. Used in a with statement, which ends it."""

    def __init__(self, command, env=None, seconds=120):
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors,
                                        env=os.environ | (env or {}))
        self._limit = threading.Timer(seconds, self.process.kill)
        self._limit.daemon = True
        self._limit.start()
        self._ids = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._limit.cancel()
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            stream.close()

    def send(self, message):
        self.write(json.dumps(message) + "\n")

    def write(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def receive(self):
        """The next message; a row's bytes are its "logits". None at the end of the stream."""
        line = self.process.stdout.readline()
        if not line:
            return None
        message = _decode(line.decode())
        if "bytes" in message:
            message["logits"] = self.process.stdout.read(message["bytes"])
        return message

    def ask(self, **message):
        self.send(message)
        return self.receive()

    def hello(self, **options):
        return self.ask(isobit_exec=1, ask="hello", options=options)

    def load(self, path="", kind="safetensors", vocab_size=0, precision="fp32", threads=1,
             device="cpu"):
        return self.ask(ask="load", precision=precision, device=device, threads=threads,
                        model={"path": str(path), "kind": kind, "vocab_size": vocab_size,
                               "context": 1024})

    def request(self, sequences, max_new_tokens=8, **more):
        """Sends a request for tokens; its id."""
        self._ids += 1
        self.send({"ask": "generate", "id": self._ids, "sequences": sequences, "cache": "on",
                   "max_new_tokens": max_new_tokens, "eos": [], "threads": 1, "kv": "exact",
                   "batch": len(sequences)} | more)
        return self._ids

    def answers(self, count):
        """{id: Answer} of so many requests that are open."""
        rows, done = collections.defaultdict(list), {}
        while len(done) < count:
            message = self.receive()
            if message is None:
                raise EOFError(f"the engine ended: {self.told()[-500:]}")
            if message["reply"] == "row":
                rows[message["id"]].append(message)
            else:
                done[message["id"]] = message
        return {number: Answer(rows[number], end) for number, end in done.items()}

    def generate(self, sequences, max_new_tokens=8, **more):
        number = self.request(sequences, max_new_tokens, **more)
        return self.answers(1)[number]

    def end(self):
        """Exit code after the message `end`."""
        self.send({"ask": "end"})
        return self.process.wait(30)

    def told(self):
        """What it wrote to standard error."""
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")


class Answer:
    def __init__(self, rows, end):
        self.rows, self.end = rows, end
        self.observed = end.get("observed")

    def tokens(self, sequence=0):
        return [row["token"] for row in self.rows if row["sequence"] == sequence]

    def positions(self, sequence=0):
        return [row["position"] for row in self.rows if row["sequence"] == sequence]

    def bytes(self, sequence=0):
        return [row["logits"] for row in self.rows if row["sequence"] == sequence]

    def values(self, sequence=0):
        """Rows of floats."""
        return [array.array("f", data) for data in self.bytes(sequence)]
