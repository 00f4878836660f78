"""python xtask/demo/compare_sync.py FILE URI

Reads every record of a JSON Lines file back through the blocking client and compares it byte for byte.
"""

from __future__ import annotations

import sys
import time

import slotkv
from records import Tally, chunks

file, uri = sys.argv[1:]
tally = Tally()
with slotkv.connect(uri, deadline=60.0) as client:
    for chunk in chunks(file):
        start = time.perf_counter()
        values = client.get_many([key for key, _ in chunk])
        tally.seconds += time.perf_counter() - start
        tally.compare(chunk, values)
        tally.progress(chunk)
tally.finish()
