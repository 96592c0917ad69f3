"""What a file is, told by its first bytes: a suffix is only what somebody called it."""

from pathlib import Path

from zoo.errors import ModelError

SAFETENSORS = "safetensors"
ZIP = "zip"
PICKLE = "pickle"
_START = 4096  # bytes that are looked at
_TAR_MARK = slice(257, 262)
_ADVICE = {
    "an HTML page": "what was fetched is a page of a site, not its file: fetch the file itself",
    "a Git LFS pointer": "the file itself was not fetched: run `git lfs pull`",
    "a tar archive": "unpack it, and convert the file in it",
    "gzip data": "unpack it with gunzip first",
    "bzip2 data": "unpack it with bunzip2 first",
    "an xz archive": "unpack it with xz -d first",
    "an HDF5 file": "Keras and TensorFlow's files are not read",
    "JSON": "this may be a description of the file; fetch the weights",
    "an image": "give a checkpoint",
    "empty": "fetch it again",
}


def recognise_content(path: Path) -> str:
    """Tell safetensors, zip (torch.save) and pickles apart.

    Returns:
        ``SAFETENSORS``, ``ZIP`` or ``PICKLE``; the last also where nothing is recognised and the
        reader shall say what is wrong.

    Raises:
        ModelError: if the file is missing, or is something else that can be named.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    with open(path, "rb") as file:
        start = file.read(_START)
    other = _other_kind(start)
    if other is not None:
        raise ModelError(f"{path}: no checkpoint but {other}; {_ADVICE[other]}")
    if start.startswith(b"PK\x03\x04"):
        return ZIP
    header_size = int.from_bytes(start[:8], "little")
    if len(start) > 8 and start[8:9] == b"{" and header_size <= path.stat().st_size:
        return SAFETENSORS
    if path.suffix == ".safetensors" and not _is_pickle(start):
        return SAFETENSORS  # whose reader says what is damaged
    return PICKLE


def _other_kind(start: bytes) -> str | None:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    magic = {
        b"version https://git-lfs": "a Git LFS pointer",
        b"\x1f\x8b": "gzip data",
        b"BZh": "bzip2 data",
        b"\xfd7zXZ": "an xz archive",
        b"\x89HDF": "an HDF5 file",
        b"\x89PNG": "an image",
        b"\xff\xd8\xff": "an image",
    }
    if not start:
        return "empty"
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<body")):
        return "an HTML page"
    for mark, kind in magic.items():
        if start.startswith(mark):
            return kind
    if start[_TAR_MARK] == b"ustar":
        return "a tar archive"
    if text.startswith((b'{"', b"{\n", b"[{")):
        return "JSON"
    return None


def _is_pickle(start: bytes) -> bool:
    """Whether the bytes begin like a pickle of protocol 2 or later."""
    return start[:1] == b"\x80" and start[1:2] < b"\x08"
