"""Makes an inner value of an ONNX model one of its outputs, without the onnx package.

ONNX is protobuf: a ``ModelProto`` holds its graph in field 7, a ``GraphProto`` its outputs in
field 12, a ``ValueInfoProto`` its name in field 1; the type may be left to the runtime.
"""

from __future__ import annotations

GRAPH, OUTPUT, NAME = 7, 12, 1
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def with_output(model: bytes, name: str) -> bytes:
    """Return ``model`` with the value ``name`` as its last output.

    Raises:
        ValueError: If ``model`` is not a protobuf message with a graph in it.
    """
    output = _field(OUTPUT, _field(NAME, name.encode()))
    result, at, graphs = bytearray(), 0, 0
    while at < len(model):
        start = at
        tag, at = _read_varint(model, at)
        if tag >> 3 == GRAPH and tag & 7 == BYTES:
            size, at = _read_varint(model, at)
            result += _field(GRAPH, model[at : at + size] + output)
            at += size
            graphs += 1
        else:
            at = _skip(model, at, tag & 7)
            result += model[start:at]
    if graphs != 1:
        raise ValueError(f"a model has one graph, this has {graphs}")
    return bytes(result)


def _field(number: int, body: bytes) -> bytes:
    return _varint(number << 3 | BYTES) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError("a number in the model is cut short")


def _skip(data: bytes, at: int, kind: int) -> int:
    """Return where the field that begins at ``at`` ends."""
    if kind == VARINT:
        return _read_varint(data, at)[1]
    if kind == BYTES:
        size, at = _read_varint(data, at)
    elif kind in (FIXED32, FIXED64):
        size = 4 if kind == FIXED32 else 8
    else:
        raise ValueError(f"the model has a field of kind {kind}")
    if at + size > len(data):
        raise ValueError("the model is cut short")
    return at + size
