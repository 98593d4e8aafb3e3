"""Many texts in memory, side by side."""

import numpy as np


class Strings:
    """Texts in a fraction of what as many objects take."""

    def __init__(self, lengths: bytes, texts: bytes) -> None:
        """From what `in_order` sends: the bytes of each text (int32, big-endian), and all texts one after the other."""
        self._texts = texts
        self._ends = np.concatenate([[0], np.cumsum(np.frombuffer(lengths, dtype=">i4"), dtype=np.int64)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, at: int) -> str:
        return self._texts[self._ends[at] : self._ends[at + 1]].decode()


def in_order(column: str) -> str:
    """The lengths and the texts of a column, ascending, as SQL for two columns of one row; NULL where there are none."""
    return (
        f"string_agg(int4send(octet_length({column})), '' ORDER BY {column}),"
        f" string_agg(convert_to({column}, 'UTF8'), '' ORDER BY {column})"
    )
