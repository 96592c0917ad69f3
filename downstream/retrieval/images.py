"""The images behind the rows of a store."""

from PIL import Image

from downstream.features.store import FeatureStore
from zoo import DataError
from zoo.data.sources import Source, open_source


class StoredImages:
    """Finds a row's image again, in the data set that it came from.

    Attributes:
        store: the rows.
    """

    def __init__(self, store: FeatureStore) -> None:
        """Open no data set before one of its images is asked for.

        Args:
            store: the rows.
        """
        self.store = store
        self._sources: dict[tuple[str, str], Source] = {}

    def image(self, row: int) -> Image.Image:
        """Read the image of a row, upright 8-bit RGB.

        Raises:
            DataError: if the data set or the image is no longer where it was.
        """
        part = self.store.part(row)
        key = self.store.keys[row]
        source = self._source(part.data, part.split)
        index = source.find(key)
        if index is None:
            raise DataError(f"{part.data}: no longer holds {key}; bring it back, or embed again")
        return source.image(index)

    def _source(self, data: str, split: str) -> Source:
        if (data, split) not in self._sources:
            self._sources[data, split] = open_source(data, split)
        return self._sources[data, split]
