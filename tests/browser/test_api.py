"""The named endpoints, called by gradio_client as a program would."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from make import CLAIM

pytestmark = pytest.mark.timeout(240)
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:7860"


def test_the_whole_job_in_a_few_calls(tiny_site):
    client = Client(tiny_site, verbose=False)
    looked = client.predict(*CLAIM, "factuality", api_name="/look")
    assert len(looked["top"]) == 10 and len(looked["rows"]) == 7
    traced = client.predict(*CLAIM, "factuality", "residual", api_name="/trace")
    assert len(traced["effect"]) == 4 and traced["sentence"]
    edited = client.predict(*CLAIM, "factuality", "rome", "default", api_name="/edit")
    assert edited["accepted"] and len(edited["attempts"][0]["checks"]) == 3
    listed, file = client.predict(api_name="/session")
    assert [change["id"] for change in listed["changes"]] == [edited["id"]] and file
    (row,) = client.predict("The capital of France is", api_name="/before_after")
    assert row["moved"] >= 0
    weights, *_ = client.predict(api_name="/export")
    assert torch.load(weights, weights_only=True)
    assert client.predict(edited["id"], api_name="/undo")["changes"] == []
    done = client.predict("The Colosseum,is located in,Rome,Athens", "factuality", "rome", "default", api_name="/bulk")
    assert [row["accepted"] for row in done] == [True]
    assert client.predict(api_name="/restore")["changes"] == []


@pytest.mark.timeout(600)
def test_the_lines_of_the_readme_do_the_whole_job(pocket_site):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    if not (block := next((text for text in blocks if "gradio_client" in text), "")):
        pytest.skip("the README does not show the use from a program")
    assert ADDRESS in block and len(block.strip().splitlines()) <= 12
    scope: dict = {}
    exec(block.replace(ADDRESS, pocket_site), scope)
    assert scope["fix"]["accepted"] and scope["where"] and scope["now"]["old"] > scope["now"]["new"]
    assert len(scope["moved"]) == 2 and all(row["kl"] >= 0 for row in scope["refusals"])
    assert [score["name"] for score in scope["quality"]["scores"]] == ["EditBench", "LocalitySens"]
    assert [change["id"] for change in scope["changes"]["changes"]] == [scope["fix"]["id"]]
    names = {Path(path).name for path in scope["files"]}
    assert {"pytorch_model.pt", "model.safetensors", "edits.safetensors", "README.md"} <= names
    again = Client(pocket_site, verbose=False)
    assert again.predict(handle_file(scope["session_file"]), api_name="/load_session") == scope["changes"]


def test_two_clients_have_two_sessions(tiny_site):
    one, two = Client(tiny_site, verbose=False), Client(tiny_site, verbose=False)
    assert one.predict(*CLAIM, "factuality", "rome", "default", api_name="/edit")["accepted"]
    assert two.predict(api_name="/session")[0]["changes"] == []


@pytest.mark.parametrize(("endpoint", "values", "said"), [
    ("/look", ("", "is", "a", "b", "factuality"), "Please write what the claim is about"),
    ("/edit", (*CLAIM, "factuality", "roma", "default"), "Did you mean rome"),
    ("/undo", ("nothing",), "no change 'nothing'"),
    ("/bulk", ("a,b", "factuality", "rome", "default"), "Row 1 has 2 columns"),
    ("/export", (), "nothing to take away")])
def test_a_wrong_input_comes_back_as_a_sentence(tiny_site, endpoint, values, said):
    with pytest.raises(AppError, match=said):
        Client(tiny_site, verbose=False).predict(*values, api_name=endpoint)
