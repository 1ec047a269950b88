"""How long a file of the classic NetCDF formats must be, read from its header.

The library reads what a truncated classic file has lost as zeros, without a word. The formats are those of the NetCDF
user guide, "File Format Specifications": CDF-1 (classic), CDF-2 (64-bit offset), CDF-5 (64-bit data).
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}


@dataclass(frozen=True)
class _Variable:
    is_record: bool
    size: int  # bytes, of one record if it has records
    begin: int


def expected_size(path: Path) -> int:
    """Return the number of bytes up to the end of the last value; 0 if the file is none of the classic formats.

    Raises:
        EOFError: if the file ends within its header.
    """
    with path.open("rb") as file:
        magic = file.read(4)
        if magic[:3] != b"CDF" or magic[3:] not in (b"\1", b"\2", b"\5"):
            return 0
        return _Header(file, magic[3]).end_of_data()


class _Header:
    """Reads one item of a header after the other."""

    def __init__(self, file: BinaryIO, version: int) -> None:
        self.file = file
        self.count_bytes = 8 if version == 5 else 4
        self.offset_bytes = 4 if version == 1 else 8

    def end_of_data(self) -> int:
        records = self._integer(self.count_bytes)
        if records == 256**self.count_bytes - 1:  # written as a stream: as many records as there are
            records = 0
        lengths = [self._dimension() for _ in range(self._list())]
        self._attributes()
        variables = [self._variable(lengths) for _ in range(self._list())]
        ends = [variable.begin + variable.size for variable in variables if not variable.is_record]
        repeated = [variable for variable in variables if variable.is_record]
        if repeated and records:
            stride = _record_bytes(repeated)
            ends += [variable.begin + (records - 1) * stride + variable.size for variable in repeated]
        return max(ends, default=0)

    def _integer(self, num_bytes: int) -> int:
        found = self.file.read(num_bytes)
        if len(found) < num_bytes:
            raise EOFError("the file ends within its header")
        return int.from_bytes(found, "big")

    def _list(self) -> int:
        self._integer(4)  # the kind of list, or 0 for an absent one
        return self._integer(self.count_bytes)

    def _skip(self, num_bytes: int) -> None:
        self.file.seek(-(-num_bytes // 4) * 4, 1)

    def _dimension(self) -> int:
        self._skip(self._integer(self.count_bytes))
        return self._integer(self.count_bytes)

    def _attributes(self) -> None:
        for _ in range(self._list()):
            self._skip(self._integer(self.count_bytes))
            kind = self._integer(4)
            self._skip(TYPE_BYTES[kind] * self._integer(self.count_bytes))

    def _variable(self, lengths: list[int]) -> _Variable:
        self._skip(self._integer(self.count_bytes))
        shape = [lengths[self._integer(self.count_bytes)] for _ in range(self._integer(self.count_bytes))]
        self._attributes()
        kind = self._integer(4)
        self._integer(self.count_bytes)  # the size, which overflows for large variables
        is_record = bool(shape) and shape[0] == 0  # the record dimension's length is written as 0
        return _Variable(is_record, TYPE_BYTES[kind] * prod(shape[is_record:]), self._integer(self.offset_bytes))


def _record_bytes(variables: list[_Variable]) -> int:
    """Return the bytes of one record of all variables: each is padded to 4 bytes, unless it is the only one."""
    if len(variables) == 1:
        return variables[0].size
    return sum(-(-variable.size // 4) * 4 for variable in variables)
