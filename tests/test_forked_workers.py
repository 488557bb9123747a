"""The app's own calls in forked workers that are reused between visitors: the real ones of the `spaces` package.

What is replaced is what a machine without ZeroGPU lacks: the scheduler's answers, and moving tensors to a GPU. Forking,
pickling, queues, reuse, Stop and the death of a worker are the package's own. It keeps one worker for calls that answer
and one for calls that narrate.
"""

import importlib
import inspect
import os
import signal
import sys
import types

import pytest
import torch
from make import REQUEST

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
CARDS = types.SimpleNamespace(unpatch=lambda: None, init=lambda _: None, size=lambda: 0, move=lambda callback: None,
                              enter_mode=lambda: None)
"""In place of moving tensors: that part of the package cannot even be imported beside a torch without CUDA."""
with pytest.MonkeyPatch.context() as importing:
    importing.setitem(sys.modules, "spaces.zero.torch", CARDS)
    wrappers = pytest.importorskip("spaces.zero.wrappers", reason="the package `spaces` is not installed")

from auditor import gpu  # noqa: E402
from auditor.benchmarks import generate_cases, profile  # noqa: E402
from auditor.editor import loop, validate  # noqa: E402
from auditor.editor.boundary import boundary  # noqa: E402
from auditor.editor.look import compare, look  # noqa: E402
from auditor.errors import AuditorError, UnknownName  # noqa: E402
from auditor.export.bundle import bundle  # noqa: E402
from auditor.export.plain import plain  # noqa: E402
from auditor.types import Accepted, BenchmarkScore, Session  # noqa: E402
from auditor.ui.panels import locate  # noqa: E402

QUESTIONS = ("The Eiffel Tower is located in", "A bell rang")


def weights(model):
    """Worker's process number and all its base weights, as sums that every bit counts in."""
    with model.applied():
        return os.getpid(), {name: tensor.view(torch.int32).long().sum().item() for name, tensor
                             in model.hf.state_dict().items() if tensor.dtype == torch.float32}


def narrated_weights(model):
    yield weights(model)


def both(door) -> tuple:
    """The same of the worker that answers and of the one that narrates."""
    return door.call(weights), *door.stream(narrated_weights)


def die(model):
    os.kill(os.getpid(), signal.SIGKILL)


def die_half_way(model, edits):
    """A narrating call whose worker is killed while a visitor's edits are live."""
    yield os.getpid()
    with model.applied(edits):
        die(model)


def fail_half_way(model, edits):
    yield os.getpid()
    with model.applied(edits):
        raise ValueError("my secret")


def count(model, edits):
    for i in range(10_000):
        with model.applied(edits):
            pass
        yield i


@pytest.fixture(scope="module")
def door(tiny):
    """`auditor.gpu` as on ZeroGPU, with the package's own workers; one thread on both sides of the border."""
    lease = types.SimpleNamespace(idle=True, nvidiaIndex=0, nvidiaUUID="none", allowToken="none")
    client = types.SimpleNamespace(schedule=lambda **_: lease, release=lambda *_, **__: None, allow=lambda _: None,
                                   get_duration_seconds=lambda *_: 60, duration_warning=lambda: None)

    def lent(duration):
        return lambda task: (wrappers.generator_function_wrapper if inspect.isgeneratorfunction(task)
                             else wrappers.regular_function_wrapper)(task, duration, None)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wrappers, "client", client)
        patch.setattr(wrappers, "debug", lambda *_: None)
        patch.setenv("SPACES_ZERO_GPU", "true")
        patch.setitem(sys.modules, "spaces", types.SimpleNamespace(GPU=lent))
        for name, value in {"paraphrase": 0.0, "behaviour": 99.0, "fingerprint": -1.0}.items():
            patch.setitem(validate.LIMITS, name, value)  # so that a random model accepts an edit
        importlib.reload(gpu)
        gpu.host(tiny)
        yield gpu
        for pid in {pid for pid, _ in both(gpu)}:
            os.kill(pid, signal.SIGTERM)
    torch.set_num_threads(threads)
    importlib.reload(gpu)


@pytest.fixture(scope="module")
def accepted(door, tiny) -> Accepted:
    """Visitor A's accepted edit, made in a worker."""
    *_, outcome = door.stream(loop.edit, REQUEST, Session(tiny.id))
    assert isinstance(outcome, Accepted)
    return outcome


def test_every_call_of_the_app_gives_what_it_gives_in_place(door, tiny, accepted, tmp_path):
    edits, session = accepted.session.edits, accepted.session
    *_, here = loop.edit(tiny, REQUEST, Session(tiny.id))
    assert here.entry.edit.id == accepted.entry.edit.id and here.entry.report == accepted.entry.report
    for task, args, options in ((look, (REQUEST,), {"edits": edits}), (locate, (REQUEST,), {"edits": edits}),
                                (locate, (REQUEST,), {"edits": edits, "part": "mlp"}),
                                (compare, (QUESTIONS,), {"after": edits}),
                                (boundary, (), {"after": edits, "request": REQUEST}),
                                (generate_cases, (REQUEST,), {"pocket": True})):
        assert plain(door.call(task, *args, **options)) == plain(task(tiny, *args, **options)), task.__name__
    cases = generate_cases(tiny, REQUEST, pocket=True)
    asked = (session, accepted.entry.edit.id, cases)
    there = [event for event in door.stream(profile, *asked, names=["EditBench"]) if isinstance(event, BenchmarkScore)]
    in_place = [e for e in profile(tiny, *asked, names=["EditBench"]) if isinstance(e, BenchmarkScore)]
    assert plain(there) == plain(in_place) and len(there) == 1
    *_, made = door.stream(bundle, session, tmp_path / "there")
    *_, mine = bundle(tiny, session, tmp_path / "here")
    assert made.hashes == mine.hashes and made.files, "every file of the take-away, to the byte"


def test_the_next_visitor_gets_the_same_worker_and_nothing_of_the_last(door, tiny, accepted):
    workers = both(door)
    assert {pid for pid, _ in workers}.isdisjoint({os.getpid()}), "the control: these are other processes"
    with_edit = door.call(compare, QUESTIONS, after=accepted.session.edits)
    assert with_edit[0].moved > 0, "the control: visitor A's edit does show in A's own answers"
    assert plain(door.call(look, REQUEST)) == plain(look(tiny, REQUEST))
    assert all(row.moved == 0 for row in door.call(compare, QUESTIONS))
    *_, second = door.stream(loop.edit, REQUEST, Session(tiny.id))
    assert second.entry.edit.id == accepted.entry.edit.id and second.entry.edit.fitted_on == ()
    assert both(door) == workers, "the same processes with the same weights, to the bit"
    assert all(sums == weights(tiny)[1] for _, sums in workers)


def spoil(model):
    """What no task of the app does: write into a base weight."""
    model.w_out(0).add_(1.0)


def test_what_a_task_left_behind_would_be_seen(door, tiny):
    """Negative control of the test above."""
    before = both(door)
    door.call(spoil)
    after = both(door)
    assert after[0][0] == before[0][0] and after[0][1] != before[0][1] and after[1] == before[1]
    with pytest.raises(AuditorError):
        door.call(die)  # a spoiled worker is of no more use
    assert both(door)[0][1] == before[0][1] == weights(tiny)[1]


def test_an_error_in_the_middle_keeps_worker_weights_and_session(door, tiny, accepted):
    workers, session = both(door), accepted.session
    steps = door.stream(fail_half_way, session.edits)
    assert next(steps) == workers[1][0]
    with pytest.raises(AuditorError) as caught:
        next(steps)
    assert "secret" not in str(caught.value)
    with pytest.raises(UnknownName):
        list(door.stream(loop.edit, REQUEST, session, preset="nothing"))
    assert both(door) == workers
    assert door.call(compare, QUESTIONS, after=session.edits) == compare(tiny, QUESTIONS, after=session.edits)


def test_a_killed_worker_is_said_and_loses_nothing(door, tiny, accepted):
    workers, session = both(door), accepted.session
    with pytest.raises(AuditorError, match="gave no answer .*aborted.*kept"):
        door.call(die)
    steps = door.stream(die_half_way, session.edits)
    assert next(steps) == workers[1][0]
    with pytest.raises(AuditorError, match="aborted"):
        next(steps)
    again = both(door)
    assert {pid for pid, _ in again}.isdisjoint({pid for pid, _ in workers}), "new workers took their place"
    assert [sums for _, sums in again] == [sums for _, sums in workers]
    assert door.call(compare, QUESTIONS, after=session.edits) == compare(tiny, QUESTIONS, after=session.edits)


def test_stop_leaves_the_worker_usable(door, tiny, accepted):
    workers = both(door)
    steps = door.stream(count, accepted.session.edits)
    assert [next(steps), next(steps)] == [0, 1]
    steps.close()
    fit = door.stream(loop.edit, REQUEST, accepted.session)
    next(fit), next(fit)
    fit.close()
    assert both(door) == workers, "the same processes, free again, with the weights as they were"
    assert plain(door.call(look, REQUEST)) == plain(look(tiny, REQUEST))


def test_no_quota_is_said_in_the_lenders_words(door, monkeypatch):
    def refuse(**_):
        raise wrappers.error("ZeroGPU quota exceeded", "No minutes left. <a href='x'>Log in</a> to get more.")

    monkeypatch.setattr(wrappers.client, "schedule", refuse)
    for asked in (lambda: door.call(weights), lambda: list(door.stream(narrated_weights))):
        with pytest.raises(AuditorError, match=r"\(No minutes left\. Log in to get more\)\. Nothing was changed"):
            asked()
