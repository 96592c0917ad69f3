"""Images as a browser uploads them."""

import io

from PIL import Image

LIMIT = 200_000  # bytes


def png(side=16, mode="RGB", **options):
    buffer = io.BytesIO()
    Image.new(mode, (side, side), **options).save(buffer, "PNG")
    return buffer.getvalue()


def upload(client, content, **more):
    return client.post("/", files={"image": ("../../etc/passwd", content, "image/png")}, **more)
