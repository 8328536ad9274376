"""The protocol of external engines (../PROTOCOL.md) for engines written in Python.

Standard library only. An engine is a subclass of Adapter and a call of serve():

    import array
    import isobit_exec

    class Echo(isobit_exec.Adapter):
        engine = "echo"
        axes = {"batch": True, "threads": True, "teacher_forced": True}

        def hello(self, options):
            isobit_exec.known(options, [])
            return {"version": "1"}

        def load(self, request):
            self.size = request["model"]["vocab_size"]

        def generate(self, request, answer):
            for s in isobit_exec.sequences(request):
                while not s.ended:
                    row = array.array("f", [0.0] * self.size)
                    row[(s.tokens[-1] + 1) % self.size] = 1.0
                    s.tell(answer, isobit_exec.largest(row), logits=row)
            return {"live_rows": 1, "device": "cpu", "precision": "fp32"}

    if __name__ == "__main__":
        isobit_exec.serve(Echo())

serve() takes standard input and output for the protocol and points file descriptor 1 at standard
error, so that a library that prints does no harm. A module that prints while it is imported must be
imported in load(), or after take_streams(). hello() has a minute, so it imports nothing large.
"""
import contextlib
import ctypes
import dataclasses
import fcntl
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import traceback

VERSION = 1
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_PR_SET_PDEATHSIG = 1
_PIPE_BYTES = 1 << 20  # some rows, so that the engine need not wait for its reader
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class Refused(Exception):
    """What was asked cannot be done; the text is for a person and becomes an `error` message."""


class Unavailable(Exception):
    """The engine is not on this machine; the text says why, and what to install or start."""


class Broken(Exception):
    """The engine cannot go on: the process ends, and the text is the last line that it says."""


class Adapter:
    """An engine. hello() comes first and may be all; load() comes once; generate() many times.

    With batching "static" generate() is called with one request at a time. With "concurrent" it is
    called in a thread for each open request, and must be safe for that.
    """
    engine = ""                # its name
    evidence = "logits"        # logits | logprobs | tokens
    batching = "static"        # static | concurrent
    axes: dict = {}            # what is understood, as PROTOCOL.md says

    def hello(self, options: dict[str, str]) -> dict:
        """Checks the options; gives {"version": text} and whatever differs from the attributes.
        May raise Unavailable or Refused."""
        raise NotImplementedError

    def load(self, request: dict) -> None:
        """Loads the model; raises Refused with a reason."""
        raise NotImplementedError

    def generate(self, request: dict, answer: "Answer") -> dict:
        """Tells every row to the answer and returns what was observed."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends what load() started. Called once, also after a signal."""


class Answer:
    """Takes the rows of one request. A row's line and its bytes stay together."""

    def __init__(self, protocol: "Protocol", request: dict, vocab_size: int | None):
        self._protocol = protocol
        self._id = request.get("id")
        self._vocab_size = vocab_size

    def row(self, sequence: int, position: int, token: int, *, fed: int | None = None,
            logits=None, logprob: str | float | None = None, top=()) -> None:
        """One recorded row in one of three forms: with the row of logits (contiguous fp32, anything
        with the buffer protocol), with log-probabilities, or the token alone. A log-probability
        that is a text is passed on as it stands."""
        message = {"reply": "row", "id": self._id, "sequence": sequence, "position": position,
                   "token": token}
        if fed is not None:
            message["fed"] = fed
        if logits is None:
            self._protocol.send(message, _logprob_fields(logprob, top))
            return
        data = memoryview(logits).cast("B")
        if self._vocab_size is not None and data.nbytes != 4 * self._vocab_size:
            raise Refused(f"the engine's row has {data.nbytes} bytes, the model's vocabulary of "
                          f"{self._vocab_size} tokens has {4 * self._vocab_size}")
        message["bytes"] = data.nbytes
        self._protocol.send(message, data=data)


class Protocol:
    """The two streams. Messages may be sent from any thread."""

    def __init__(self, reader, writer: int):
        self._reader, self._writer = reader, writer
        self._lock = threading.Lock()

    def receive(self) -> dict | None:
        """The next request; None at the end. A line that is no request is answered here."""
        for line in self._reader:
            try:
                message = json.loads(line)
                if isinstance(message, dict):
                    return message
            except ValueError:
                pass
            self.send({"reply": "error", "message": "a request is one JSON object on a line"})
        return None

    def send(self, message: dict, fields: str = "", data: memoryview | None = None) -> None:
        """`fields` is JSON text that is put in before the closing brace."""
        parts = [memoryview((_encode(message)[:-1] + fields + "}\n").encode())]
        if data is not None:
            parts.append(data)
        with self._lock:
            while parts:
                written = os.writev(self._writer, parts)
                while parts and written >= len(parts[0]):
                    written -= len(parts.pop(0))
                if written:
                    parts[0] = parts[0][written:]


def serve(adapter: Adapter) -> None:
    """Answers requests until `end`, the end of standard input, or a signal."""
    protocol = Protocol(*take_streams())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        _answer_all(adapter, protocol)
    except (BrokenPipeError, SystemExit):  # nobody reads any more, or a signal
        pass
    finally:
        adapter.close()
    sys.stderr.flush()
    os._exit(0)  # requests that are still open, and libraries' threads, must not keep it


def take_streams():
    """(file to read, descriptor to write) of the protocol. From here on, descriptor 0 is empty and
    1 is standard error. The duplicates are not inherited by child processes."""
    reader, writer = os.fdopen(os.dup(0), "rb"), os.dup(1)
    with contextlib.suppress(OSError):  # no pipe, or no right to a larger one: then it is slower
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    sys.stdout.flush()
    os.dup2(2, 1)
    return reader, writer


def _answer_all(adapter: Adapter, protocol: Protocol) -> None:
    batching, vocab_size = adapter.batching, None
    while (request := protocol.receive()) is not None:
        ask = request.get("ask")
        if ask == "end":
            return
        if ask == "hello":
            reply = _told(adapter, request, lambda: _hello(adapter, request))
            batching = reply.get("batching", batching)
            protocol.send(reply)
        elif ask == "load":
            reply = _told(adapter, request, lambda: _load(adapter, request))
            vocab_size = request.get("model", {}).get("vocab_size")
            protocol.send(reply)
        elif ask == "generate":
            answer = Answer(protocol, request, vocab_size)
            if batching == "concurrent":
                threading.Thread(target=_generate, args=(adapter, protocol, request, answer),
                                 daemon=True).start()
            else:
                _generate(adapter, protocol, request, answer)
        else:
            protocol.send(_told(adapter, request, lambda: _unknown(ask)))


def _hello(adapter: Adapter, request: dict) -> dict:
    if request.get("isobit_exec") != VERSION:
        raise Refused(f"this adapter speaks version {VERSION} of the protocol, "
                      f"not {request.get('isobit_exec')}")
    head = {"isobit_exec": VERSION, "reply": "hello", "engine": adapter.engine}
    try:
        told = adapter.hello(request.get("options", {}))
    except Unavailable as why:
        return {"isobit_exec": VERSION, "reply": "unavailable", "reason": str(why)}
    return head | {"evidence": adapter.evidence, "batching": adapter.batching,
                   "axes": adapter.axes} | told


def _load(adapter: Adapter, request: dict) -> dict:
    adapter.load(request)
    return {"reply": "loaded"}


def _generate(adapter: Adapter, protocol: Protocol, request: dict, answer: Answer) -> None:
    def done() -> dict:
        return {"reply": "done", "id": request.get("id"),
                "observed": adapter.generate(request, answer)}
    try:
        protocol.send(_told(adapter, request, done))
    except BrokenPipeError:  # in a thread of its own: the reader ends the process
        if threading.current_thread() is threading.main_thread():
            raise


def _unknown(ask) -> dict:
    raise Refused(f"ask is hello, load, generate or end, not {json.dumps(ask)}")


def _told(adapter: Adapter, request: dict, make) -> dict:
    """What make() returns, or its failure as a message; the traceback goes to standard error."""
    try:
        reply = make()
        _encode(reply)  # a value that JSON has not fails here
        return reply
    except BrokenPipeError:
        raise
    except Broken as why:
        adapter.close()
        print(why, file=sys.stderr, flush=True)
        os._exit(1)  # from any thread
    except Refused as why:
        message = str(why)
    except Exception as why:  # the boundary of the process: whatever it is, isobit must hear of it
        traceback.print_exc()
        message = f"{type(why).__name__}: {why}"
    reply = {"reply": "error", "message": message}
    if request.get("ask") == "hello":
        reply["isobit_exec"] = VERSION
    if "id" in request:
        reply["id"] = request["id"]
    return reply


def _logprob_fields(logprob, top) -> str:
    """JSON text of the fields, with the digits that were given."""
    if logprob is None:
        return ""
    pairs = ", ".join(f"[{int(token)}, {_digits(value)}]" for token, value in top)
    return f', "logprob": {_digits(logprob)}, "top": [{pairs}]'


def _digits(value: str | float) -> str:
    text = value if isinstance(value, str) else repr(float(value))
    if not _NUMBER.fullmatch(text):
        raise Refused(f"a log-probability is a number, not {text}")
    return text


# What adapters share.

@dataclasses.dataclass
class Sequence:
    """One of a request, as it grows. `tokens` are the prompt and what was fed since."""
    number: int
    prompt: list[int]
    teacher: list[int] | None
    rows_wanted: int
    eos: list[int]
    tokens: list[int]
    rows: int = 0
    ended: bool = False

    def tell(self, answer: Answer, token: int, **values) -> None:
        """The next row, as Answer.row() takes it: tells it with the token that is fed, the
        teacher's or the drawn one, and sees whether that was the last."""
        fed = token if self.teacher is None else self.teacher[self.rows]
        answer.row(self.number, len(self.prompt) - 1 + self.rows, token, fed=fed, **values)
        self.tokens.append(fed)
        self.rows += 1
        self.ended = (self.rows == self.rows_wanted
                      or (self.teacher is None and token in self.eos))


def sequences(request: dict) -> list[Sequence]:
    """Those of a request for tokens."""
    made = []
    for number, given in enumerate(request["sequences"]):
        prompt, teacher = given["prompt"], given.get("teacher")
        wanted = request["max_new_tokens"] if teacher is None else len(teacher)
        if not prompt or wanted < 1:
            raise Refused(f"sequence {number} has an empty prompt or asks for no token")
        made.append(Sequence(number, prompt, teacher, wanted, request["eos"], list(prompt)))
    return made


def known(options: dict[str, str], names) -> None:
    """Refuses an option of another name."""
    for name in options:
        if name not in names:
            wanted = ", ".join(names) if names else "none"
            raise Refused(f"there is no option {name}; known: {wanted}")


def choice(options: dict[str, str], name: str, values, default: str) -> str:
    """The value of an option that has few."""
    value = options.get(name, default)
    if value not in values:
        wanted = ", ".join(values[:-1]) + (" or " if len(values) > 1 else "") + values[-1]
        raise Refused(f"option {name} is {wanted}, not {json.dumps(value)}")
    return value


def whole(options: dict[str, str], name: str, default: int, least: int = 0) -> int:
    """The value of an option that is a whole number."""
    text = options.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        raise Refused(f"option {name} is a whole number from {least} on, not {json.dumps(text)}")
    return int(text)


def largest(row) -> int:
    """The greedy choice: the index of the largest value, the lowest among equal ones."""
    return max(range(len(row)), key=row.__getitem__)


def leave_folder(file: str) -> None:
    """Takes the folder of a script out of the places of modules: a script that is called like the
    package it uses must not be found instead of it."""
    folder = pathlib.Path(file).resolve().parent
    sys.path[:] = [place for place in sys.path if pathlib.Path(place).resolve() != folder]


def start_child(command: list[str]) -> subprocess.Popen:
    """Starts a process in a group of its own that is told to end when this process dies. Its output
    goes to standard error. Call it from the main thread: the kernel watches the thread that starts.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def follow_parent():
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(),
                            start_new_session=True, preexec_fn=follow_parent)


def end_child(child: subprocess.Popen, seconds: float = 4) -> None:
    """Ends the process and the group that it leads. Isobit gives this process five seconds after
    `end`, so that the child gets fewer before it is killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.wait(seconds)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    child.wait()


def loaded_library(name: str) -> str | None:
    """The path of a shared library that this process has mapped, by the beginning of its name."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            path = line.rstrip("\n").split(maxsplit=5)[5:]
            if path and os.path.basename(path[0]).startswith(name):
                return path[0]
    return None
