"""The images behind the rows of a store."""

from PIL import Image

from downstream.features.store import Store
from zoo import DataError
from zoo.data.sources import Source, open_source


class Pictures:
    """Finds a row's image again, in the data set that it came from."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._sources: dict[tuple[str, str], Source] = {}

    def image(self, row: int) -> Image.Image:
        """The image of a row, upright 8-bit RGB.

        Raises:
            DataError: if the data set or the image is no longer where it was.
        """
        part, key = self.store.part(row), self.store.keys[row]
        if (part.data, part.split) not in self._sources:
            self._sources[part.data, part.split] = open_source(part.data, part.split)
        source = self._sources[part.data, part.split]
        index = source.find(key)
        if index is None:
            raise DataError(f"{part.data}: no longer holds {key}; bring it back, or embed again")
        return source.image(index)
