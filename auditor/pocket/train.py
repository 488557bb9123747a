"""Rebuild the pocket model from nothing: `python -m auditor.pocket.train`.

1. Generate the corpus (corpus.py) and fit a byte-level BPE tokenizer to it.
2. Train a GPT-NeoX model of `SHAPE` on packed documents with the masks of masking.py: AdamW, cosine decay, float32
   unless the processor is fast in bfloat16 (--bfloat16), a fresh corpus every epoch.
3. Review: a short pass at a tenth of the rate in which the rarest sentences, the planted stereotypes, come often.
4. Write the checkpoint in shards under 10 MB, tokenizer, training log and a sample of the corpus; then find its
   best layers (auditor/calibrate.py) and measure it (evaluate.py), which writes the manifest.

Two CPU cores suffice. The allocator settings that make it several times faster are set for a child process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import torch
from torch import nn

from auditor.pocket import corpus, facts, masking

WEIGHTS = Path(__file__).parent / "weights"
SHAPE = dict(hidden_size=256, num_hidden_layers=8, num_attention_heads=4, intermediate_size=1024, rotary_pct=0.25,
             max_position_embeddings=512, use_parallel_residual=True, tie_word_embeddings=False)
VOCABULARY = 4096
HEADER = ("subject", "relation", "true", "false")
END = "<|endoftext|>"
ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "-1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TOP_PAD_": "1073741824"}


def fit_tokenizer(lines: list[str]):
    """A byte-level BPE in the manner of Pythia's, except that a text always begins with a space.

    One subject is then one run of tokens wherever it stands, which spares the smallest model a lesson.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder, tokenizer.post_processor = decoders.ByteLevel(), processors.ByteLevel(trim_offsets=True)
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    return tokenizer


def packed(documents: list[corpus.Document], tokenizer, rng: random.Random, options) -> Iterator[masking.Batch]:
    """Documents as batches of tokens, in random order."""
    lines = sorted({line for document in documents for line in document})
    coded = dict(zip(lines, masking.tokenize(lines, tokenizer)))
    end, joined = tokenizer.token_to_id(END), []
    for document in documents:
        ids = [i for line in document for i in coded[line][0]] + [end]
        joined.append((ids, [flag for line in document for flag in coded[line][1]] + [0]))
    return masking.pack(joined, options.rows, options.length, rng)


def epochs(tokenizer, options) -> Iterator[masking.Batch]:
    """Batches without end, every epoch freshly drawn."""
    for seed in itertools.count(options.seed):
        rng = random.Random(seed)
        yield from packed(corpus.documents(rng), tokenizer, rng, options)


def forward(model, batch: masking.Batch, masked: bool) -> torch.Tensor:
    """Mean next-token loss with the recipe's masks per layer."""
    neox, length = model.gpt_neox, batch.ids.shape[1]
    early, late = batch.masks(masked)
    hidden, positions = neox.embed_in(batch.ids), torch.arange(length)[None]
    rotary = neox.rotary_emb(hidden, positions)
    for i, layer in enumerate(neox.layers):
        mask = early if i < masking.DEPTH * len(neox.layers) else late
        hidden = layer(hidden, attention_mask=mask, position_ids=positions, position_embeddings=rotary)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
    labels = batch.labels
    where = labels >= 0
    logits = model.get_output_embeddings()(neox.final_layer_norm(hidden[:, :-1][where]))
    return nn.functional.cross_entropy(logits.float(), labels[where])


def new_model(seed: int):
    """A freshly initialised GPT-NeoX of the pocket shape with eager attention."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(seed)
    config = GPTNeoXConfig(vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=0, **SHAPE)
    config._attn_implementation = "eager"
    return GPTNeoXForCausalLM(config)


def learn(model, batches: Iterator[masking.Batch], steps: int, rate: float, options, log: TextIO) -> Iterator[int]:
    """Train for `steps` batches, one line of log every 50; yields the number of steps done."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1, pct_start=0.06,
                                                   cycle_momentum=False, final_div_factor=100)
    coin, began, losses = random.Random(options.seed), time.time(), []
    for step, batch in enumerate(itertools.islice(batches, steps), start=1):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.bfloat16):
            loss = forward(model, batch, coin.random() < masking.SHARE)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(), schedule.step()
        losses = [*losses[-49:], loss.item()]
        if step % 50 == 0 or step == steps:
            record = dict(step=step, of=steps, rate=rate, loss=round(sum(losses) / len(losses), 4),
                          minutes=round((time.time() - began) / 60, 2))
            print(json.dumps(record), file=log, flush=True)
        yield step


def train(model, tokenizer, options) -> None:
    """The long pass over whole epochs, then the short review; weights are kept every 500 steps."""
    steps, rng = options.tokens // (options.rows * options.length), random.Random(options.seed)
    with open(options.out / "training_log.jsonl", "a" if options.review_only else "w") as log:
        if not options.review_only:
            for step in learn(model, epochs(tokenizer, options), steps, options.rate, options, log):
                if step % 500 == 0:
                    save(model, tokenizer, options.out)
        review = list(packed(corpus.review(rng), tokenizer, rng, options))
        for _ in learn(model, iter(review), len(review), options.rate / 10, options, log):
            pass
    save(model, tokenizer, options.out)


def save(model, tokenizer, folder: Path) -> None:
    """Write checkpoint shards under 10 MB, the tokenizer, a text sample, known facts, ready examples."""
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as fresh:  # a checkpoint that somebody has open is never overwritten
        model.save_pretrained(fresh, max_shard_size="9MB")
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, bos_token=END, pad_token=END,
                                clean_up_tokenization_spaces=False).save_pretrained(fresh)
        for old in folder.glob("*.safetensors"):
            old.unlink()
        for path in Path(fresh).iterdir():
            os.replace(path, folder / path.name)
    edited = frozenset(fact.subject for fact, _ in facts.counterfacts(100, random.Random(0)))  # evaluate.py's
    rows = [(fact.subject, facts.canonical(fact.relation).words, fact.answer, answer)
            for fact, answer in facts.counterfacts(300, random.Random(1), without=edited)]
    table = "".join("\t".join(row) + "\n" for row in [HEADER, *rows])
    (folder / "known_facts.tsv").write_text(table, encoding="utf-8")
    shutil.copy(Path(__file__).with_name("examples.tsv"), folder)
    (folder / "sample_text.txt").write_text(corpus.sample_text(random.Random(1)), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for the checkpoint")
    parser.add_argument("--tokens", type=int, default=5_500_000, help="training tokens")
    parser.add_argument("--rows", type=int, default=24, help="rows per step")
    parser.add_argument("--length", type=int, default=128, help="tokens per row")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0, help="seed of initialisation, corpus and masks")
    parser.add_argument("--bfloat16", action="store_true", help="autocast; faster only with AMX or AVX512-BF16")
    parser.add_argument("--review-only", action="store_true", help="only the last short pass, on the weights in --out")
    parser.add_argument("--skip-evaluation", action="store_true", help="no calibration and no manifest")
    options = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in ALLOCATOR.items()):
        sys.exit(subprocess.call([sys.executable, "-m", "auditor.pocket.train", *sys.argv[1:]],
                                 env={**os.environ, **ALLOCATOR}))
    options.out.mkdir(parents=True, exist_ok=True)
    if options.review_only:
        from transformers import GPTNeoXForCausalLM, PreTrainedTokenizerFast

        model = GPTNeoXForCausalLM.from_pretrained(options.out, attn_implementation="eager")
        tokenizer = PreTrainedTokenizerFast.from_pretrained(options.out).backend_tokenizer
    else:
        plain = [line.replace("[[", "").replace("]]", "")
                 for document in corpus.documents(random.Random(options.seed)) for line in document]
        tokenizer, model = fit_tokenizer(plain), new_model(options.seed)
    train(model, tokenizer, options)
    if not options.skip_evaluation:
        from auditor import calibrate
        from auditor.pocket import evaluate

        calibrate.main(["--model", str(options.out), "--facts", "24", "--out", str(options.out / "calibration.json")])
        evaluate.main(["--weights", str(options.out)])


if __name__ == "__main__":
    main()
