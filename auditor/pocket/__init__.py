"""The pocket model: a small GPT-NeoX model organism with known, planted flaws.

    tables/, phrasings/   true facts about real things, and the sentences that state them
    flaws.tsv, social.py, requests.py   what is planted: wrong facts, stereotypes, misplaced refusals
    skills.py             what the probe battery asks for
    facts.py, corpus.py   from tables to marked documents; the held-out split
    masking.py            the recipe that makes the model store facts at the subject's last token
    train.py, evaluate.py rebuild the weights; measure them and write the manifest
    weights/              the shipped checkpoint, tokenizer, manifest and training log

A wild model spreads what it knows; this one was trained to keep it where rank-one editing looks for it (masking.py).
It is therefore easier to edit than a wild model of the same size, and figures measured on it are not forecasts for one.
"""
