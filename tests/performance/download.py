"""Does one visitor's download disturb the others? A 2.8B-shaped model: `python tests/performance/download.py`.

1. Write a checkpoint of Pythia 2.8B's shape (`--layers` for less), half precision, random weights, shard by shard.
2. Serve it in a process of its own. This process is the visitors: one loads a session file with one change and asks
   for the `.pt` file; another one clicks, and fetches the page, twice a second meanwhile.
3. Then the first visitor fetches the whole file, and the other goes on clicking.
4. Report seconds until the file is complete and fetched, the slowest answer, and the server's extra memory.

Memory is read from /proc/PID/status of the server every 50 ms. Extra memory is the peak of RssAnon while the file is
written, less RssAnon just before: what the program itself asked for. Pages of files (RssFile) are left out, because the
system takes them back whenever it wants; their peak is reported beside it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import torch  # noqa: E402
from gradio_client import Client, handle_file  # noqa: E402
from make import make_tiny  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

WIDTH, MLP, HEADS, VOCABULARY = 2560, 10240, 32, 50304
SHARD = 2**30
GLANCE, BREATH = 0.05, 0.5
"""Seconds between two looks at the memory, and between an answer and the other visitor's next click."""


def shapes(layers: int) -> dict[str, tuple[int, ...]]:
    """Name to shape, as in Pythia 2.8B's published file."""
    found = {"gpt_neox.embed_in.weight": (VOCABULARY, WIDTH), "embed_out.weight": (VOCABULARY, WIDTH)}
    sides = {"attention.query_key_value": (3 * WIDTH, WIDTH), "attention.dense": (WIDTH, WIDTH),
             "mlp.dense_h_to_4h": (MLP, WIDTH), "mlp.dense_4h_to_h": (WIDTH, MLP)}
    norms = [f"gpt_neox.layers.{i}.{name}" for i in range(layers)
             for name in ("input_layernorm", "post_attention_layernorm")]
    for name, shape in itertools.chain.from_iterable(
            ((f"gpt_neox.layers.{i}.{name}", shape) for name, shape in sides.items()) for i in range(layers)):
        found |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in (*norms, "gpt_neox.final_layer_norm"):
        found |= {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}
    return found


def make_checkpoint(folder: Path, layers: int) -> int:
    """Write configuration, a small tokenizer and random weights; returns the number of parameters."""
    make_tiny(folder)
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_size": WIDTH, "intermediate_size": MLP, "num_attention_heads": HEADS, "dtype": "float16",
               "num_hidden_layers": layers, "vocab_size": VOCABULARY, "max_position_embeddings": 2048}
    (folder / "config.json").write_text(json.dumps(config))
    block = (0.02 * torch.randn(2**20, generator=torch.Generator().manual_seed(0))).half()  # repeated: fast to make
    wanted, shard, index, size = shapes(layers), {}, {}, 0
    for name, shape in wanted.items():
        count = torch.Size(shape).numel()
        shard[name] = block.repeat(count // len(block) + 1)[:count].reshape(shape).clone()
        size += 2 * count
        if size > SHARD or name == list(wanted)[-1]:
            file = f"model-{len(set(index.values())):05d}.safetensors"
            save_file(shard, folder / file, metadata={"format": "pt"})
            index |= dict.fromkeys(shard, file)
            shard, size = {}, 0
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return sum(torch.Size(shape).numel() for shape in wanted.values())


def serve(folder: Path) -> None:
    """Be the server: boot, keep a session file with one change, tell the address, wait for the end of stdin."""
    from make import random_edit, session_of

    from auditor import gpu
    from auditor.export import session as session_file
    from auditor.model import boot
    from auditor.ui import LAUNCH, build_app

    model = boot(folder, id="random-2.8b", device="cpu", dtype="float16")
    gpu.host(model)
    saved = session_file.save(session_of(model, random_edit(model)), folder / "one-change.session")
    app = build_app(model).queue(max_size=16)
    _, url, _ = app.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **LAUNCH)
    sys.stdout.write(json.dumps({"url": url, "session": str(saved)}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    app.close()


class Watch:
    """Repeats a piece of work in a thread while the scope lasts; `found` holds what it returned."""

    def __init__(self, work: Callable[[], float], pause: float):
        self._work, self._pause, self.found = work, pause, []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._done.wait(self._pause):
            self.found.append(self._work())

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._done.set()
        self._thread.join()


def memory(pid: int, kind: str) -> float:
    """GB of one kind in /proc/PID/status."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) * 1024 / 1e9


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def say(what: str, value: float, unit: str, **more: float) -> None:
    sys.stdout.write(json.dumps({"what": what, "value": round(value, 3), "unit": unit, **more}) + "\n")
    sys.stdout.flush()


def fetch(url: str) -> None:
    """Read an address to its end without keeping it."""
    with urllib.request.urlopen(url, timeout=600) as answer:
        while answer.read(2**20):
            pass


def measure(pid: int, url: str, session: str, endpoint: str, pause: float) -> None:
    """Be the visitors: one downloads, one clicks."""
    one, other = (Client(url, verbose=False, download_files=False) for _ in range(2))
    one.predict(handle_file(session), api_name="/load_session")
    clicks, pages = (lambda: timed(lambda: other.predict(api_name="/session"))), (lambda: timed(lambda: fetch(url)))
    say("click, nobody downloading, slowest of 10", max(clicks() for _ in range(10)), "s")
    before = memory(pid, "RssAnon")
    kinds = {kind: Watch(lambda kind=kind: memory(pid, kind), GLANCE) for kind in ("RssAnon", "RssFile")}
    with kinds["RssAnon"], kinds["RssFile"], Watch(clicks, pause) as clicked, Watch(pages, pause) as fetched:
        files = []
        spent = timed(lambda: files.extend(one.predict(api_name=f"/{endpoint}")))
    path = next(Path(each["path"] if isinstance(each, dict) else each) for each in files if ".pt" in str(each))
    say(f"/{endpoint}: from the click to complete files", spent, "s", checkpoint_gb=path.stat().st_size / 1e9)
    say("extra memory of the server meanwhile", max(kinds["RssAnon"].found) - before, "GB", before=round(before, 2),
        file_pages_peak=round(max(kinds["RssFile"].found), 2))
    say("slowest click of another visitor meanwhile", max(clicked.found), "s", clicks=len(clicked.found))
    say("slowest page of another visitor meanwhile", max(fetched.found), "s", pages=len(fetched.found))
    with Watch(clicks, pause) as clicked, Watch(pages, pause) as fetched:
        spent = timed(lambda: fetch(f"{url}gradio_api/file={path}"))
    say("fetching the file over HTTP", spent, "s")
    say("slowest click of another visitor meanwhile", max(clicked.found), "s", clicks=len(clicked.found))
    say("slowest page of another visitor meanwhile", max(fetched.found), "s", pages=len(fetched.found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, default=32, help="fewer for a smaller machine (default: %(default)s)")
    parser.add_argument("--endpoint", default="export", help="or bundle, for all files (default: %(default)s)")
    parser.add_argument("--pause", type=float, default=BREATH,
                        help="seconds between an answer and the other visitor's next click (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where to work; 20 GB for all layers (default: the system's own)")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was written is removed then too
    work = Path(tempfile.mkdtemp(prefix="download-", dir=options.folder))
    try:
        parameters = make_checkpoint(work / "base", options.layers)
        say("checkpoint", parameters / 1e9, "billion parameters", layers=options.layers)
        server = subprocess.Popen([sys.executable, __file__, "--serve", str(work / "base")], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True,
                                  env={**os.environ, "GRADIO_TEMP_DIR": str(work / "served")})
        try:
            told = json.loads(server.stdout.readline())
            measure(server.pid, told["url"], told["session"], options.endpoint, options.pause)
        finally:
            server.terminate()
            server.wait()
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
