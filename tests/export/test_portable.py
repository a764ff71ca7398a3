import pytest

from fauxface_export.portable import portable


@pytest.mark.parametrize(
    ("given", "cut"),
    [
        ("fauxface train /a/b/prepared --out /c/run", "fauxface train prepared --out run"),
        ("/a/b/", "b"),
        ("/home/jane doe/data/prepared", "prepared"),
        (
            "fauxface train '/home/jane doe/x+y' --add /u@v/w real:cam=/p/q",
            "fauxface train x+y --add w real:cam=q",
        ),
        ("fauxface train x --weights=/a/b.npz", "fauxface train x --weights=b.npz"),
        ("it's in /srv/proj+x/runs", "it's in runs"),
        ("a real/fake pair (1/2)", "a real/fake pair (1/2)"),
        (
            "fauxface train a --weights ../shared/w.npz --add=../../b/",
            "fauxface train a --weights w.npz --add=b",
        ),
        ("it's in ../faces", "it's in ../faces"),
        (r"fauxface train a --weights '..\jane\w.npz'", "fauxface train a --weights w.npz"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ({"a": ["/x/y", 1], "b": None}, {"a": ["y", 1], "b": None}),
        (r"C:\Users\jane doe\faces", "faces"),
        ("d:/data/runs/a", "a"),
        (r"fauxface train 'C:\Users\bob\x' --add real:cam=D:/p/q", "fauxface train x --add real:cam=q"),
        (r"it's in C:\srv\proj\runs", "it's in runs"),
        ("ratio 1:2, a: b", "ratio 1:2, a: b"),
    ],
)
def test_portable(given, cut):
    assert portable(given) == cut
