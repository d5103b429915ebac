from __future__ import annotations

import stat
import zipfile

import pytest

from aoi_tl.errors import DataError
from aoi_tl.formats import archive as room
from aoi_tl.formats import import_dataset
from aoi_tl.formats.archive import extract

from .conftest import edges

TABLE = "filename,class,xmin,ymin,xmax,ymax\na.png,dent,1,2,30,40\n"


def packed(path, members, **settings):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members:
            opened.writestr(name, content, **settings)
    return path


def refused(tmp_path, path):
    folder = tmp_path / "in" / "unpacked"
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.raises(DataError) as caught:
        extract(path, folder)
    assert "\n" not in str(caught.value)
    outside = {p.name for p in tmp_path.rglob("*")} - {"in", "unpacked", path.name}
    assert not {name for name in outside if "evil" in name}
    return str(caught.value)


def test_a_zip_is_a_source_and_leaves_nothing_behind(tmp_path, picture):
    image = picture("src/a.png").read_bytes()
    path = packed(
        tmp_path / "set.zip",
        [
            (
                "set/xml/a.xml",
                "<annotation><object><name>dent</name><bndbox><xmin>1</xmin>"
                "<ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>",
            ),
            ("set/images/a.png", image),
            ("set/train.py", "1/0"),
            ("set/model.pt", b"\x80"),
        ],
    )
    done = import_dataset("voc", path, tmp_path / "out" / "new", link=True)
    assert edges(done.dataset) == {"a": [("dent", (1, 2, 30, 40))]}
    assert not done.dataset.samples[0].image.is_symlink()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["new"]
    assert "members of other kinds left out (2 in all)" in done.notes[0]


def test_a_zip_may_hold_a_table(tmp_path, picture):
    image = picture("src/a.png").read_bytes()
    table = "filename,class,xmin,ymin,xmax,ymax\na.png,dent,1,2,30,40\n"
    path = packed(tmp_path / "set.zip", [("boxes.csv", table), ("images/a.png", image)])
    done = import_dataset("csv", path, tmp_path / "new")
    assert edges(done.dataset) == {"a": [("dent", (1, 2, 30, 40))]}
    two = packed(tmp_path / "two.zip", [("a.csv", table), ("b.csv", table), ("a.png", image)])
    with pytest.raises(DataError, match="one table"):
        import_dataset("csv", two, tmp_path / "two")


def test_what_is_odd_in_a_zip_is_told_by_its_name(tmp_path, picture, refused):
    image = picture("src/a.png").read_bytes()
    table = "filename,class,xmin,ymin,xmax,ymax\na.png,dent,1,2,30,40\n"
    box = "<object><name>dent</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax>" \
          "<ymax>40</ymax></bndbox></object>"
    path = packed(tmp_path / "set.zip", [
        ("xml/a.xml", f"<annotation>{box}{box}</annotation>"), ("images/a.png", image),
    ])
    done = import_dataset("voc", path, tmp_path / "new")
    assert done.notes == (
        f"1 boxes left out: given twice, the first {path}/xml/a.xml",
    )
    path = packed(tmp_path / "bad.zip", [("a.json", table), ("b.png", image)])
    assert f"{path}/a.json line 1: expected valid JSON" in refused("coco", path)


def test_chinese_names_of_any_packer(tmp_path):
    raw = "划痕.png".encode("gbk")
    path = packed(tmp_path / "a.zip", [("XXXX.png", b"x")])
    path.write_bytes(path.read_bytes().replace(b"XXXX.png", raw))
    (tmp_path / "u").mkdir()
    extract(path, tmp_path / "u")
    assert [p.name for p in (tmp_path / "u").iterdir()] == ["划痕.png"]


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "a/../../evil.png",
        "/tmp/evil.png",
        "C:/evil.png",
        "..\\evil.png",
        "a\\..\\..\\evil.png",
    ],
)
def test_members_that_climb_out_are_refused(tmp_path, name):
    path = packed(tmp_path / "a.zip", [("fine.png", b"x"), (name, b"x")])
    assert "a member that leads out of it" in refused(tmp_path, path)
    assert not list((tmp_path / "in" / "unpacked").iterdir())


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path, kind):
    info = zipfile.ZipInfo("evil.png")
    info.external_attr = (kind | 0o777) << 16
    path = packed(tmp_path / "a.zip", [(info, "/etc/passwd")])
    assert "a link or device" in refused(tmp_path, path)


def test_bombs_are_refused(tmp_path, monkeypatch):
    path = packed(tmp_path / "a.zip", [(f"{n}.png", bytes(1024**2)) for n in range(70)])
    assert "73400320 bytes unpacked from" in refused(tmp_path, path)
    monkeypatch.setattr(room, "MAX_BYTES", 1024**2)
    assert "over 1048576" in refused(tmp_path, path)
    monkeypatch.setattr(room, "MAX_ENTRIES", 60)
    assert "70 members, over 60" in refused(tmp_path, path)


def test_a_member_larger_than_it_says_is_refused(tmp_path):
    path = packed(tmp_path / "a.zip", [("a.png", bytes(5000))])
    content = path.read_bytes()
    path.write_bytes(content.replace((5000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    assert "broken or unknown archive" in refused(tmp_path, path)


def test_members_of_the_same_name_are_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = packed(tmp_path / "a.zip", [("a.png", b"x"), ("a.png", b"y")])
    assert "two members 'a.png'" in refused(tmp_path, path)


def test_what_is_no_archive_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK\x03\x04 and nothing more")
    assert "broken or unknown archive" in refused(tmp_path, path)
    good = packed(tmp_path / "b.zip", [("a.csv", TABLE * 50)]).read_bytes()
    path.write_bytes(good[:60] + bytes(20) + good[80:])
    assert "broken or unknown archive" in refused(tmp_path, path)


def test_encrypted_members_are_refused(tmp_path):
    path = packed(tmp_path / "a.zip", [("a.png", b"x")])
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    path.write_bytes(content)
    assert "encrypted members" in refused(tmp_path, path)
