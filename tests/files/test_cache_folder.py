from __future__ import annotations

from aoi_tl.files.cache_folder import cache_folder


def test_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("AOI_TL_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("AOI_TL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_folder() == tmp_path / "aoi-tl"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder().parts[-3:] == ("Library", "Caches", "aoi-tl")
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert cache_folder() == tmp_path / "aoi-tl"
