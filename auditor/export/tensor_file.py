"""Write safetensors files one tensor at a time: header first, then each tensor's bytes. No second copy in memory.

1. `plan` cuts a state dict into shards of at most `limit` bytes, in name order, under the names that Hugging Face uses.
2. `dump` writes one shard into an open file: length of the header (8 bytes, little endian), header as JSON padded with
   spaces to a multiple of 8, then the data in the header's order.
3. `index` says which tensor is in which shard; it is needed only where there are several.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import BinaryIO

import torch
from torch import Tensor

LIMIT = 5 * 10**9
"""Bytes of one shard."""
SINGLE, SHARD, INDEX = "model.safetensors", "model-{i:05d}-of-{n:05d}.safetensors", "model.safetensors.index.json"
KINDS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}


def plan(tensors: Mapping[str, Tensor], limit: int = LIMIT) -> dict[str, list[str]]:
    """File name to the names of its tensors. A tensor larger than `limit` gets a file of its own."""
    shards: list[list[str]] = [[]]
    room = limit
    for name in sorted(tensors):
        if shards[-1] and tensors[name].nbytes > room:
            shards.append([])
            room = limit
        shards[-1].append(name)
        room -= tensors[name].nbytes
    if len(shards) == 1:
        return {SINGLE: shards[0]}
    return {SHARD.format(i=i, n=len(shards)): names for i, names in enumerate(shards, 1)}


def index(shards: Mapping[str, list[str]], size: int) -> str:
    """The index of several shards, as JSON."""
    where = {name: file for file, names in shards.items() for name in names}
    return json.dumps({"metadata": {"total_size": size}, "weight_map": where}, indent=2, sort_keys=True)


def dump(tensors: Mapping[str, Tensor], file: BinaryIO) -> None:
    """Write tensors that lie in main memory or in a mapped file."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": KINDS[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [end, end + tensor.nbytes]}
        end += tensor.nbytes
    written = json.dumps(header, separators=(",", ":")).encode()
    written += b" " * (-len(written) % 8)
    file.write(struct.pack("<Q", len(written)) + written)
    for tensor in tensors.values():
        file.write(memoryview(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()))
