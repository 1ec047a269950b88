"""Reads the header of a file of the classic NetCDF formats: whether it makes sense, and how long the file must be.

The library reads what a truncated classic file has lost as zeros, without a word, and some damaged headers make it end
the whole process. The formats are those of the NetCDF user guide, "File Format Specifications": CDF-1 (classic), CDF-2
(64-bit offset), CDF-5 (64-bit data).
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

DIMENSIONS, VARIABLES, ATTRIBUTES = 10, 11, 12
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
MAX_NAME_BYTES = 1024  # 256 characters


@dataclass(frozen=True)
class _Variable:
    is_record: bool
    size: int  # bytes, of one record if it has records
    begin: int


def expected_size(path: Path) -> int:
    """Return the number of bytes up to the end of the last value; 0 if the file is none of the classic formats.

    Raises:
        ValueError: if the header is damaged or breaks off.
    """
    with path.open("rb") as file:
        magic = file.read(4)
        if magic[:3] != b"CDF" or magic[3:] not in (b"\1", b"\2", b"\5"):
            return 0
        return _Header(file, magic[3], path.stat().st_size).end_of_data()


class _Header:
    """Reads one item of a header after the other."""

    def __init__(self, file: BinaryIO, version: int, size: int) -> None:
        self.file, self.size = file, size
        self.count_bytes = 8 if version == 5 else 4
        self.offset_bytes = 4 if version == 1 else 8
        self.type_bytes = {kind: TYPE_BYTES[kind] for kind in TYPE_BYTES if version == 5 or kind < 7}

    def end_of_data(self) -> int:
        records = self._integer(self.count_bytes)
        if records == 256**self.count_bytes - 1:  # written as a stream: as many records as there are
            records = 0
        lengths = [self._dimension() for _ in range(self._list(DIMENSIONS))]
        self._check(lengths.count(0) < 2, "two dimensions of records")
        self._attributes()
        variables = [self._variable(lengths) for _ in range(self._list(VARIABLES))]
        self._check(all(variable.begin >= self.file.tell() for variable in variables), "values in the header")
        ends = [variable.begin + variable.size for variable in variables if not variable.is_record]
        repeated = [variable for variable in variables if variable.is_record]
        if repeated and records:
            stride = _record_bytes(repeated)
            ends += [variable.begin + (records - 1) * stride + variable.size for variable in repeated]
        return max(ends, default=0)

    def _check(self, holds: bool, found: str) -> None:
        if not holds:
            raise ValueError(f"the header is damaged: it has {found} before byte {self.file.tell()}")

    def _integer(self, num_bytes: int) -> int:
        found = self.file.read(num_bytes)
        self._check(len(found) == num_bytes, "no end")
        return int.from_bytes(found, "big")

    def _list(self, expected: int) -> int:
        tag, count = self._integer(4), self._integer(self.count_bytes)
        self._check(tag == expected or (tag, count) == (0, 0), f"a list of kind {tag} and length {count}")
        return count

    def _skip(self, num_bytes: int) -> None:
        self.file.seek(-(-num_bytes // 4) * 4, 1)
        self._check(self.file.tell() <= self.size, "no end")

    def _name(self) -> None:
        length = self._integer(self.count_bytes)
        self._check(0 < length <= MAX_NAME_BYTES, f"a name of {length} bytes")
        self._skip(length)

    def _type(self) -> int:
        kind = self._integer(4)
        self._check(kind in self.type_bytes, f"a type {kind}")
        return self.type_bytes[kind]

    def _dimension(self) -> int:
        self._name()
        return self._integer(self.count_bytes)

    def _attributes(self) -> None:
        for _ in range(self._list(ATTRIBUTES)):
            self._name()
            self._skip(self._type() * self._integer(self.count_bytes))

    def _variable(self, lengths: list[int]) -> _Variable:
        self._name()
        ids = self._dimension_ids(len(lengths))
        shape = [lengths[index] for index in ids]
        self._check(0 not in shape[1:], "records within records")
        self._attributes()
        item = self._type()
        self._integer(self.count_bytes)  # the size, which overflows for large variables
        is_record = shape[:1] == [0]  # the record dimension's length is written as 0
        return _Variable(is_record, item * prod(shape[is_record:]), self._integer(self.offset_bytes))

    def _dimension_ids(self, num_dimensions: int) -> list[int]:
        rank = self._integer(self.count_bytes)
        self._check(rank <= MAX_NAME_BYTES, f"a variable of {rank} dimensions")
        ids = [self._integer(self.count_bytes) for _ in range(rank)]
        self._check(all(index < num_dimensions for index in ids), f"the dimensions {ids} of {num_dimensions}")
        return ids


def _record_bytes(variables: list[_Variable]) -> int:
    """Return the bytes of one record of all variables: each is padded to 4 bytes, unless it is the only one."""
    if len(variables) == 1:
        return variables[0].size
    return sum(-(-variable.size // 4) * 4 for variable in variables)
