import ctypes

from npid import malloc


def test_the_users_own_settings_are_left_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: asked.append(name))
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    malloc.keep_freed()
    assert not asked


def test_a_system_without_glibc_is_fine(monkeypatch):
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)

    def missing(name):
        raise OSError("no C library")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    malloc.keep_freed()


def test_freed_memory_is_kept_by_two_thresholds(monkeypatch):
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    calls = []

    class Library:
        @staticmethod
        def mallopt(option, value):
            calls.append((option, value))

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library)
    malloc.keep_freed()
    assert dict(calls) == {-1: 1 << 28, -3: 1 << 28}
