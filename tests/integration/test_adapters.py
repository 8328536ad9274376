"""The base for external engines written in Python, and the adapter for servers against a small
server with their interface; both spoken to directly. test_engines.py has the other adapters.
"""
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

from exec_driver import ADAPTERS, ROOT, Engine

FAKE_SERVER = ROOT / "tests/fakes/openai_server.py"

TOY = """
import array, ctypes, os, subprocess, sys, threading, time
sys.path.insert(0, {adapters!r})
import isobit_exec

class Toy(isobit_exec.Adapter):
    engine = "toy"
    batching = {batching!r}
    together = 0
    gate = threading.Barrier(8)

    def hello(self, options):
        isobit_exec.known(options, ["speed"])
        isobit_exec.choice(options, "speed", ["slow", "fast"], "fast")
        return {{"version": "1", "axes": {{"batch": True}}}}

    def load(self, request):
        print("babble from Python")
        os.write(1, b"babble through the descriptor\\n")
        ctypes.CDLL(None).puts(b"babble from C")
        ctypes.CDLL(None).fflush(None)
        subprocess.run(["sh", "-c", "echo babble of a child; cat"])  # and standard input is empty
        self.size = request["model"]["vocab_size"]

    def generate(self, request, answer):
        if request["max_new_tokens"] == 13:
            return 1 // 0
        if request["max_new_tokens"] == 14:
            raise isobit_exec.Broken("the toy is broken")
        if self.batching == "concurrent":
            self.gate.wait(20)
        for s in isobit_exec.sequences(request):
            while not s.ended:
                row = array.array("f", [0.0] * (self.size + (request["max_new_tokens"] == 15)))
                row[(s.tokens[-1] + 1) % self.size] = 1.0
                s.tell(answer, isobit_exec.largest(row), logits=row)
        return {{"live_rows": 1}}

isobit_exec.serve(Toy())
"""


def toy(batching="static"):
    return [sys.executable, "-c", TOY.format(adapters=str(ADAPTERS), batching=batching)]


class Base(unittest.TestCase):
    """isobit_exec.py by itself."""

    def test_the_example_of_its_documentation_is_an_engine(self):
        text = (ADAPTERS / "isobit_exec.py").read_text()
        code = textwrap.dedent(text[text.index("    import array"):text.index("serve() takes")])
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "echo.py"
            file.write_text(code)
            with Engine([sys.executable, file], env={"PYTHONPATH": str(ADAPTERS)}) as engine:
                hello = engine.hello()
                self.assertEqual((hello["engine"], hello["version"], hello["evidence"]),
                                 ("echo", "1", "logits"))
                engine.load(vocab_size=10)
                sequences = [{"prompt": [3, 4]}, {"prompt": [7], "teacher": [2, 5]}]
                answer = engine.generate(sequences, 4, eos=[7])
                self.assertEqual((answer.tokens(), answer.positions()), ([5, 6, 7], [1, 2, 3]))
                self.assertEqual((answer.tokens(1), answer.positions(1)), ([8, 3], [0, 1]))
                self.assertEqual([row["fed"] for row in answer.rows], [5, 6, 7, 2, 5])
                self.assertEqual(list(answer.values(1)[1]), [0, 0, 0, 1, 0, 0, 0, 0, 0, 0])
                self.assertEqual(engine.end(), 0)

    def test_libraries_that_print_do_no_harm(self):
        with Engine(toy()) as engine:
            engine.hello()
            self.assertEqual(engine.load(vocab_size=50000)["reply"], "loaded")
            self.assertEqual(len(engine.generate([{"prompt": [1]}], 3).bytes()[2]), 200000)
            self.assertEqual(engine.end(), 0)
            for words in ("from Python", "through the descriptor", "from C", "of a child"):
                self.assertIn("babble " + words, engine.told())

    def test_errors_are_messages_and_the_engine_goes_on(self):
        with Engine(toy()) as engine:
            self.assertEqual(engine.hello(speed="fats")["message"],
                             'option speed is slow or fast, not "fats"')
            self.assertEqual(engine.hello(sped="fast")["message"],
                             "there is no option sped; known: speed")
            self.assertIn("version 1", engine.ask(isobit_exec=2, ask="hello")["message"])
            engine.load(vocab_size=10)
            engine.write("no json\n")
            self.assertIn("one JSON object on a line", engine.receive()["message"])
            engine.write("[]\n")
            self.assertIn("one JSON object on a line", engine.receive()["message"])
            self.assertIn("not \"what\"", engine.ask(ask="what")["message"])
            failed = engine.generate([{"prompt": [1]}], 13)
            self.assertEqual(failed.end["message"],
                             "ZeroDivisionError: integer division or modulo by zero")
            self.assertIn("Traceback", engine.told())
            self.assertIn("44 bytes", engine.generate([{"prompt": [1]}], 15).end["message"])
            self.assertIn("empty prompt", engine.generate([{"prompt": []}], 2).end["message"])
            self.assertEqual(engine.generate([{"prompt": [1]}], 2).tokens(), [2, 3])
            engine.request([{"prompt": [1]}], 14)
            self.assertIsNone(engine.receive())
            self.assertEqual(engine.process.wait(10), 1)
            self.assertEqual(engine.told().splitlines()[-1], "the toy is broken")

    def test_requests_run_at_once_and_rows_stay_whole(self):
        with Engine(toy("concurrent")) as engine:
            self.assertEqual(engine.hello()["batching"], "concurrent")
            engine.load(vocab_size=50000)
            for number in range(8):  # the toy waits until all eight are there
                engine.request([{"prompt": [number * 100]}], 20)
            answers = engine.answers(8)
            for number in range(8):
                self.assertEqual(answers[number + 1].tokens(),
                                 list(range(number * 100 + 1, number * 100 + 21)))
                for token, row in zip(answers[number + 1].tokens(), answers[number + 1].values()):
                    self.assertEqual((row[token], sum(row)), (1.0, 1.0))

    def test_it_ends_with_its_input_and_by_a_signal(self):
        for how in ("input", "signal", "output"):
            with self.subTest(how=how), Engine(toy()) as engine:
                engine.hello()
                if how == "input":
                    engine.process.stdin.close()
                elif how == "signal":
                    engine.process.send_signal(signal.SIGTERM)
                else:
                    engine.process.stdout.close()
                    engine.send({"ask": "hello", "isobit_exec": 1})
                self.assertEqual(engine.process.wait(10), 0)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def runs(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Servers(unittest.TestCase):
    """openai.py against the fake server, which the adapter starts itself."""

    def server(self, *words, api="completions", top=5, seconds=60, form="{}", **options):
        """An engine with a server of its own, loaded; `form` is what its command is put into."""
        port = free_port()
        words = [sys.executable, str(FAKE_SERVER), "--port", str(port), *words]
        start = form.format(" ".join(words))
        engine = Engine([sys.executable, ADAPTERS / "openai.py"], seconds=seconds)
        self.addCleanup(engine.__exit__)
        self.hello = engine.hello(url=f"http://127.0.0.1:{port}", start=start, api=api,
                                  top=str(top), **options)
        self.loaded = engine.load("a model", vocab_size=1000)
        return engine

    def running_server(self, *words):
        """(process, url) of a fake server that is not the adapter's and listens."""
        port = free_port()
        server = subprocess.Popen([sys.executable, FAKE_SERVER, "--port", str(port), *words])
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return server, f"http://127.0.0.1:{port}"
            except OSError:
                time.sleep(0.02)

    def test_both_interfaces_give_the_same_rows_with_the_digits_that_were_sent(self):
        lines = []
        for api in ("completions", "generate"):
            engine = self.server(api=api)
            self.assertEqual((self.hello["evidence"], self.hello["batching"]),
                             ("logprobs", "concurrent"))
            answer = engine.generate([{"prompt": [1, 2, 3]}], 6)
            self.assertEqual(answer.positions(), [2, 3, 4, 5, 6, 7])
            lines.append(answer.rows)
            for row in answer.rows:
                self.assertEqual([row["token"], row["logprob"]], row["top"][0])
                self.assertEqual(len(row["top"]), 5)
            digits = [row["logprob"] for row in answer.rows]  # texts, by the driver
            self.assertTrue(all(re.fullmatch(r"-0\.[0-9]{20}", text) for text in digits), digits)
            self.assertTrue(any(repr(float(text)) != text for text in digits), "nothing to lose")
            self.assertEqual(engine.end(), 0)
        self.assertEqual(*lines)

    def test_tokens_alone(self):
        tokens = []
        for api in ("completions", "generate"):
            engine = self.server(api=api, top=0)
            self.assertEqual(self.hello["evidence"], "tokens")
            answer = engine.generate([{"prompt": [1, 2, 3]}], 6)
            self.assertNotIn("logprob", answer.rows[0])
            tokens.append(answer.tokens())
            # It ends with a token of eos, which is the last of the answer.
            ended = engine.generate([{"prompt": [1, 2, 3]}], 6, eos=[tokens[0][3]])
            self.assertEqual(ended.tokens(), tokens[0][:4])
        self.assertEqual(*tokens)

    def test_44_requests_at_once_form_a_batch_that_the_server_itself_shows(self):
        engine = self.server()
        alone = [engine.generate([{"prompt": [n, n + 1]}], 4) for n in (0, 43)]
        for words, differ in (([], False), (["--fault", "batch-logprobs"], True)):
            engine = self.server("--gather", "20", "--batch", "44", "--hold", "0.5", *words)
            for n in range(44):
                engine.request([{"prompt": [n, n + 1]}], 4)
            answers = engine.answers(44)
            for one, many in zip(alone, (answers[1], answers[44])):
                self.assertEqual(one.observed["live_rows"], 1)
                self.assertEqual(many.observed["live_rows"], 44)
                self.assertGreater(many.observed["cached_reads"], 44)
                self.assertEqual(one.tokens(), many.tokens())
                self.assertEqual([r["logprob"] for r in one.rows]
                                 != [r["logprob"] for r in many.rows], differ)

    def test_without_metrics_nothing_is_claimed(self):
        engine = self.server("--no-metrics")
        self.assertNotIn("live_rows", engine.generate([{"prompt": [1]}], 2).observed)

    def test_sampling_follows_its_seed(self):
        for api in ("completions", "generate"):
            engine = self.server(api=api)
            drawn = [engine.generate([{"prompt": [1]}], 8, sampling={
                "temperature": 0.8, "top_k": 40, "top_p": 0.9, "seed": seed}).tokens()
                for seed in (7, 7, 8)]
            self.assertEqual(drawn[0], drawn[1])
            self.assertNotEqual(drawn[0], drawn[2])

    def test_a_server_lives_as_long_as_the_adapter(self):
        drawn = []
        # With `end` the server's own children go too, here the server behind a shell.
        for ending, form, depth in (("end", "sh -c '{} & wait'", 2), ("kill", "{}", 1)):
            engine = self.server("--fault", "seed", form=form)
            server = engine.process.pid
            for _ in range(depth):
                server = int(pathlib.Path(f"/proc/{server}/task/{server}/children").read_text())
            drawn.append(engine.generate([{"prompt": [1]}], 8).tokens())
            self.assertTrue(runs(server))
            if ending == "end":
                engine.end()
            else:
                engine.process.kill()
                engine.process.wait()
            end = time.monotonic() + 10
            while runs(server) and time.monotonic() < end:
                time.sleep(0.02)
            self.assertFalse(runs(server), ending)
        self.assertNotEqual(*drawn)

    def test_a_server_that_does_not_end_is_killed_before_isobit_would_kill_the_adapter(self):
        engine = self.server(form="sh -c 'trap \"\" TERM; exec {}'")
        children = pathlib.Path(f"/proc/{engine.process.pid}/task/{engine.process.pid}/children")
        server = int(children.read_text())
        start = time.monotonic()
        self.assertEqual(engine.end(), 0)
        self.assertFalse(runs(server))
        self.assertLess(time.monotonic() - start, 5)

    def test_a_server_that_fails(self):
        self.assertIn("not JSON", self.server("--fault", "not-json").generate(
            [{"prompt": [1]}], 2).end["message"])
        self.assertIn("option api: generate", self.server("--fault", "texts").generate(
            [{"prompt": [1]}], 2).end["message"])
        self.assertIn("status 404: {\"error\": {\"message\": \"no model other", self.server(
            model="other").generate([{"prompt": [1]}], 2).end["message"])
        self.assertIn("may serve another model", self.server("--vocab", "1000000").generate(
            [{"prompt": [1]}], 2).end["message"])
        self.assertIn("no teacher", self.server().generate(
            [{"prompt": [1], "teacher": [3]}], 2).end["message"])
        self.server("--after", "x")
        self.assertIn("ended with exit code 2 before it answered", self.loaded["message"])
        engine = self.server("--fault", "crash", "--after", "2")
        for _ in range(2):
            self.assertEqual(len(engine.generate([{"prompt": [1]}], 2).rows), 2)
        engine.request([{"prompt": [1]}], 2)
        self.assertIsNone(engine.receive())
        self.assertEqual(engine.process.wait(20), 1)
        self.assertEqual(engine.told().splitlines()[-1], "the server ended with exit code 3")

    def test_what_is_said_before_anything_is_started(self):
        with Engine([sys.executable, ADAPTERS / "openai.py"]) as engine:
            url = f"http://127.0.0.1:{free_port()}"
            self.assertEqual(engine.hello(url=url)["reply"], "unavailable")
            self.assertIn(url, engine.hello(url=url)["reason"])
            self.assertEqual(engine.hello(start="no-such-program {model}")["reason"],
                             "there is no program no-such-program")
            self.assertIn("completions or generate", engine.hello(api="chat")["message"])
            self.assertIn("http://HOST:PORT", engine.hello(url="localhost")["message"])
            self.assertIn("option top", engine.hello(top="-1")["message"])
            hello = engine.hello(start=f"{sys.executable} --dtype {{dtype}}")
            self.assertEqual(hello["axes"]["precision"], ["fp32", "bf16", "fp16"])
            self.assertEqual(hello["axes"]["device"], ["cpu", "cuda"])
            self.assertNotIn("precision", engine.hello(start=sys.executable)["axes"])

    def test_a_server_that_runs_already(self):
        server, url = self.running_server()
        with Engine([sys.executable, ADAPTERS / "openai.py"]) as engine:
            hello = engine.hello(url=url)
            self.assertEqual(hello["version"], "completions, vllm 0.0.fake")
            self.assertEqual(hello["axes"], {"batch": True, "seed": True})
            self.assertEqual(engine.load(vocab_size=1000)["reply"], "loaded")
            self.assertEqual(len(engine.generate([{"prompt": [1]}], 3).tokens()), 3)
            self.assertEqual(engine.end(), 0)
        self.assertIsNone(server.poll())  # not ours to end
        with Engine([sys.executable, ADAPTERS / "openai.py"]) as engine:
            engine.hello(url=url, start=f"{sys.executable} {FAKE_SERVER} --port 1")
            self.assertIn("answers at", engine.load(vocab_size=1000)["message"])

    def test_two_adapters_that_start_on_one_url(self):
        port = free_port()
        start = f"sh -c 'sleep 1; exec {sys.executable} {FAKE_SERVER} --port {port}'"
        engines = [Engine([sys.executable, ADAPTERS / "openai.py"]) for _ in range(2)]
        for engine in engines:
            self.addCleanup(engine.__exit__)
            engine.hello(url=f"http://127.0.0.1:{port}", start=start)
        load = {"ask": "load", "precision": "fp32", "device": "cpu", "threads": 1,
                "model": {"path": "a model", "kind": "gguf", "vocab_size": 1000, "context": 1024}}
        for engine in engines:
            engine.send(load)
        replies = sorted((engine.receive() for engine in engines), key=lambda r: r["reply"])
        self.assertEqual([reply["reply"] for reply in replies], ["error", "loaded"])
        self.assertIn(f"another adapter starts or has started a server at http://127.0.0.1:{port}",
                      replies[0]["message"])

    def test_a_server_that_another_one_beat_to_its_port(self):
        _, url = self.running_server("--slow", "3")  # it answers when ours has ended
        with Engine([sys.executable, ADAPTERS / "openai.py"]) as engine:
            engine.hello(url=url, start="sh -c 'exit 3'")
            message = engine.load(vocab_size=1000)["message"]
            self.assertIn(f"something answers at {url}, but the server of option start ended with "
                          "exit code 3", message)

    def test_a_started_server_that_ends_while_another_answers(self):
        port = free_port()
        with Engine([sys.executable, ADAPTERS / "openai.py"]) as engine:
            engine.hello(url=f"http://127.0.0.1:{port}",
                         start=f"sh -c '{sys.executable} {FAKE_SERVER} --port {port} & sleep 3'")
            self.assertEqual(engine.load(vocab_size=1000)["reply"], "loaded")
            time.sleep(4)
            engine.request([{"prompt": [1]}], 3)
            self.assertIsNone(engine.receive())
            self.assertIn("the answers are not its own", engine.told().splitlines()[-1])

    def test_a_server_that_runs_already_is_understood_as_it_says(self):
        for words, axes, ran in (
                (["--device", "cuda", "--dtype", "bfloat16"],
                 {"device": ["cuda"], "precision": ["bf16"]},
                 {"device": "cuda", "precision": "bf16"}),
                (["--device", "cpu", "--dtype", "auto"], {"device": ["cpu"]}, {"device": "cpu"})):
            _, url = self.running_server(*words)
            with Engine([sys.executable, ADAPTERS / "openai.py"]) as engine:
                self.assertEqual(engine.hello(url=url)["axes"],
                                 {"batch": True, "seed": True} | axes)
                engine.load(vocab_size=1000)
                observed = engine.generate([{"prompt": [1]}], 3).observed
                self.assertEqual({name: observed[name] for name in ("device", "precision")
                                  if name in observed}, ran)


if __name__ == "__main__":
    unittest.main()
