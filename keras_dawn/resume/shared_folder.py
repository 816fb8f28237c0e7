"""Whether all ranks see the same folder of checkpoints."""

import secrets
import time
from pathlib import Path

from keras_dawn.distributed.collectives import gather
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation.files import written_whole

_SECONDS = 20  # a network's folder may show a new file late


def check_shared(folder):
    """Raises `ValueError` on all ranks unless each finds what rank 0 writes into the folder."""
    if not current().several:
        return
    path = Path(folder) / ".ranks"
    # A word of this start alone: a file of an earlier one would prove nothing.
    word = secrets.token_hex(8)
    if current().is_main:
        with written_whole(path) as file:
            file.write(word.encode())
    word = gather(word)[0]
    blind = [rank for rank, sees in enumerate(gather(_sees(path, word))) if not sees]
    if blind:
        raise ValueError(
            f"Rank {', '.join(map(str, blind))} does not find in {folder} what rank 0 writes "
            "there. Give a folder that all ranks share, on a disk of the network."
        )


def _sees(path, word):
    end = time.monotonic() + _SECONDS
    while True:
        try:
            if path.read_text(encoding="utf-8") == word:
                return True
        except OSError:
            pass
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
