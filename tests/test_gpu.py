"""The door: in place, and through a forked worker that is reused, as on ZeroGPU."""

import contextlib
import importlib
import logging
import multiprocessing
import pickle
import sys
import types

import pytest
import torch
from make import REQUEST, logits, random_edit

from auditor import gpu
from auditor.editor.boundary import boundary
from auditor.editor.look import compare, look
from auditor.editor.loop import edit
from auditor.errors import AuditorError, InvalidRequest, UnknownName
from auditor.types import Accepted, Rejected, Session


def all_bits(model):
    return [model.w_out(layer).double().sum().item() for layer in range(model.n_layers)]


def read(model, edits=()):
    return logits(model, edits=edits)


def fail_inside(model, edits):
    with model.applied(edits):
        raise ValueError("the visitor wrote: my secret")


def refuse(model):
    raise InvalidRequest({"subject": "Please write it."})


def count(model, n, fail_at=None, edits=()):
    for i in range(n):
        with model.applied(edits):
            pass
        if i == fail_at:
            raise ZeroDivisionError("my secret")
        yield i


class Worker:
    """What ZeroGPU does: fork once, keep the worker, send pickled calls, get pickled results."""

    def __init__(self):
        self.functions, self.pipe, self.process = [], None, None

    def gpu(self, **options):
        def decorate(function):
            index = len(self.functions)
            self.functions.append(function)

            def answer(*args):
                return self.results(index, args, one=True)

            def narrate(*args):
                yield from self.results(index, args, one=False)

            import inspect
            return narrate if inspect.isgeneratorfunction(function) else answer
        return decorate

    def results(self, index, args, one):
        if self.process is None:
            fork = multiprocessing.get_context("fork")
            self.pipe, theirs = fork.Pipe()
            self.process = fork.Process(target=self.work, args=(theirs,), daemon=True)
            self.process.start()
        self.pipe.send_bytes(pickle.dumps((index, args)))
        if one:
            return pickle.loads(self.pipe.recv_bytes())
        return self.follow()

    def follow(self):
        while True:
            more, value = pickle.loads(self.pipe.recv_bytes())
            if not more:
                return
            wanted = False
            try:
                yield value
                wanted = True
            finally:
                self.pipe.send_bytes(pickle.dumps(wanted))

    def work(self, pipe):
        torch.set_num_threads(1)
        while True:
            index, args = pickle.loads(pipe.recv_bytes())
            result = self.functions[index](*args)
            if not isinstance(result, types.GeneratorType):
                pipe.send_bytes(pickle.dumps(result))
                continue
            wanted = True
            for value in result:
                pipe.send_bytes(pickle.dumps((True, value)))
                wanted = pickle.loads(pipe.recv_bytes())
                if not wanted:
                    result.close()
                    break
            if wanted:
                pipe.send_bytes(pickle.dumps((False, None)))


@pytest.fixture(params=["in place", "forked worker"])
def door(request, tiny, monkeypatch):
    """The door in both its forms. One thread on both sides: sums over several threads differ in their last digits."""
    worker, threads = Worker(), torch.get_num_threads()
    torch.set_num_threads(1)
    if request.param == "forked worker":
        monkeypatch.setenv("SPACES_ZERO_GPU", "true")
        monkeypatch.setitem(sys.modules, "spaces", types.SimpleNamespace(GPU=worker.gpu))
    importlib.reload(gpu)
    gpu.host(tiny)
    yield gpu
    if worker.process is not None:
        worker.process.terminate()
        worker.process.join(10)
    torch.set_num_threads(threads)
    monkeypatch.undo()
    importlib.reload(gpu)


def test_before_a_model_is_hosted():
    importlib.reload(gpu)
    with pytest.raises(AuditorError, match="No model"):
        gpu.hosted()


def test_values_are_the_same_through_the_door(door, tiny):
    change = random_edit(tiny)
    assert torch.equal(door.call(read, edits=(change,)), read(tiny, edits=(change,)))
    assert torch.equal(door.call(read), read(tiny))
    assert door.call(look, REQUEST) == look(tiny, REQUEST)
    assert door.call(boundary, after=(change,)) == boundary(tiny, after=(change,))
    assert door.call(compare, ["A bell rang"], after=(change,)) == compare(tiny, ["A bell rang"], after=(change,))


def test_a_task_that_fails_half_way_leaves_the_weights(door, tiny):
    before, bits = door.call(read), door.call(all_bits)
    for _ in range(2):
        with pytest.raises(AuditorError):
            door.call(fail_inside, (random_edit(tiny, scale=1.0),))
        assert torch.equal(door.call(read), before) and door.call(all_bits) == bits


def test_an_abandoned_stream_leaves_the_weights(door, tiny):
    before = door.call(read)
    steps = door.stream(count, 5, edits=(random_edit(tiny),))
    assert next(steps) == 0 and next(steps) == 1
    steps.close()
    assert torch.equal(door.call(read), before)


def test_own_errors_cross_unchanged(door):
    with pytest.raises(InvalidRequest) as caught:
        door.call(refuse)
    assert caught.value.problems == {"subject": "Please write it."}
    with pytest.raises(UnknownName, match="rome"):
        list(door.stream(edit, REQUEST, Session("tiny"), method="romme"))


def test_other_errors_become_a_number_and_a_line_in_the_log(tiny, caplog):
    importlib.reload(gpu)
    gpu.host(tiny)
    with caplog.at_level(logging.ERROR), pytest.raises(AuditorError) as caught:
        gpu.call(fail_inside, ())
    assert type(caught.value) is AuditorError and "secret" not in str(caught.value) + caplog.text
    number = str(caught.value).rstrip(".").split()[-1]
    assert number in caplog.text and "ValueError" in caplog.text and "fail_inside" in caplog.text


def test_a_stream_that_fails_yields_what_it_had(door):
    seen = []
    with pytest.raises(AuditorError) as caught:
        for i in door.stream(count, 5, fail_at=3):
            seen.append(i)
    assert seen == [0, 1, 2] and "secret" not in str(caught.value)
    assert list(door.stream(count, 3)) == [0, 1, 2]


def test_the_whole_loop_through_the_door(door, tiny):
    events = list(door.stream(edit, REQUEST, Session(tiny.id)))
    assert isinstance(events[-1], Accepted | Rejected)
    here = list(edit(tiny, REQUEST, Session(tiny.id)))
    assert [type(event) for event in events] == [type(event) for event in here]
    ids = [[e.edit.id for e in each if hasattr(e, "edit")] for each in (events, here)]
    assert ids[0] == ids[1], "the same request gives the same edit on either side"


def test_stop_passes_through(door):
    steps = door.stream(count, 3)
    next(steps)
    with contextlib.suppress(GeneratorExit):
        steps.throw(GeneratorExit)
    assert list(door.stream(count, 2)) == [0, 1]
