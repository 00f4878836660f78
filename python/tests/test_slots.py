"""Key to slot is the same in Python as everywhere: the vectors of proto."""

from __future__ import annotations

import json
import subprocess

import slotkv
from conftest import ROOT, binary


def test_every_key_of_the_vectors_has_its_slot() -> None:
    vectors = json.loads((ROOT / "proto/vectors/slots.json").read_text())["vectors"]
    assert len(vectors) > 10
    # As many slots as there can be, so that every bit of the hash slot shows.
    command = [str(binary()), "dev", "--port", "0", "--shards", "1", "--slots", "16384"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            word, _, uri = process.stdout.readline().strip().partition(" ")
            assert word == "ready"
            with slotkv.connect(uri) as client:
                for vector in vectors:
                    key = bytes.fromhex(vector["key_hex"])
                    assert client.slot(key) == vector["hash_slot"], key
        finally:
            process.terminate()
