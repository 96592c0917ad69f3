"""Small pickles that would cost much, and a process that reads them and says what they cost."""

import pickle
import resource
import struct
import sys
from pathlib import Path

STOP = b"."
UINT8 = b"ctorch._utils\n_rebuild_tensor_v2\n"


def text(value):
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def nested(levels, close):
    """A value in which every level holds the one below twice."""
    return b"\x80\x02)" + (b"2" + close) * levels


def shapes():
    """Name → content."""
    tuples = nested(400, b"\x86")
    yield "shared tuples", tuples + STOP
    yield "shared tuples in a list", b"\x80\x02](" + tuples[2:] + b"e" + STOP
    yield "shared tuples in a dictionary", b"\x80\x02}" + text("x") + tuples[2:] + b"s" + STOP
    yield "shared tuples as a key", b"\x80\x02}" + tuples[2:] + b"Ns" + STOP
    yield "shared tuples as a name", tuples + text("x") + b"\x93" + STOP
    yield "shared tuples as an id", tuples + b"Q" + STOP
    storage = (
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + tuples[2:] + text("cpu") + b"K\x00tQ"
    )
    yield "shared tuples as a storage's key", b"\x80\x02" + storage + STOP
    for name in (
        "torch\nSize",
        "numpy\ndtype",
        "torch\ndevice",
        "builtins\nset",
        "_codecs\nencode",
    ):
        yield (
            f"shared tuples for {name}",
            b"\x80\x02c" + name.encode() + b"\n" + tuples[2:] + b"\x85R" + STOP,
        )
    part = b"cargparse\nNamespace\n)R]" + tuples[2:] + b"N\x86ab"
    yield "shared tuples as attributes", b"\x80\x02" + part + STOP
    lists = b"\x80\x02]" + b"q\x00](h\x00h\x00e" * 3 + b"0]q\x01" + b"](h\x01h\x01eq\x01" * 400
    yield "shared lists", lists + STOP
    many = b"\x96" + struct.pack("<Q", 10**6) + bytes(10**6)
    for name in (
        "torch\nSize",
        "builtins\nset",
        "collections\nOrderedDict",
        "collections\nCounter",
    ):
        yield f"bytes for {name}", b"\x80\x05c" + name.encode() + b"\n" + many + b"\x85R" + STOP
    copies = b"\x80\x05c_codecs\nencode\nq\x02" + text("é" * 10**5) + text("utf-8") + b"\x86q\x03"
    yield "many copies of a string", copies + b"h\x02h\x03R" * 20_000 + STOP
    yield (
        "many objects of a call",
        b"\x80\x05ctorch\nSize\nq\x02)\x85q\x030" + b"h\x02h\x03R" * 250_000 + STOP,
    )
    yield "many names", b"".join(b"cevil\nx%d\n" % number for number in range(50_000)) + STOP
    yield "a long name", b"cevil\n" + b"x" * 10**6 + b"\n" + STOP
    yield "long keys", pickle.dumps({"k" * 50_000: {str(number): 1.0 for number in range(3000)}})
    deep: object = 1
    for _ in range(200):
        deep = {"k" * 500: deep}
    yield "deep keys", pickle.dumps(deep)
    yield "a deep list", b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + STOP


def main(folder):
    import zoo
    from zoo.interop.checkpoint import read_checkpoint

    path = Path(folder) / "f"
    for name, content in shapes():
        path.write_bytes(content)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        message = ""
        try:
            read_checkpoint(path, arch="resnet10")
        except zoo.ModelError as error:
            message = str(error)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(f"{grown >> 10} {len(message)} {len(content)} {name!r}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
