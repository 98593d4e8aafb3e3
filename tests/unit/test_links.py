"""How what a browser asks for on a change of page is taken apart."""

import pytest

from ui.links import split

LINKS = {"q=b", "q=a+b&category=Music", "channel=youtube%3Aabc"}


@pytest.mark.parametrize(
    ("asked", "bound", "before", "named"),
    [
        ("", set(), [], []),  # the sidebar
        ("q=a", {"q"}, [("q", "a")], []),  # the sidebar, from a page with a search
        ("q=b", {"q"}, [], [("q", "b")]),  # a link; the page before had no search
        ("q=a&q=b", {"q"}, [("q", "a")], [("q", "b")]),  # a link from a page with another search
        ("kind=Words&q=a+b&category=Music", {"kind"}, [("kind", "Words")], [("q", "a b"), ("category", "Music")]),
        ("q=&q=b", {"q"}, [("q", "")], [("q", "b")]),  # a field that was emptied
        ("details_why=true&channel=youtube%3Aabc", set(), [("details_why", "true")], [("channel", "youtube:abc")]),
        ("view=Table&q=b", set(), [], [("view", "Table"), ("q", "b")]),  # not that link: the page has no field "view"
        ("xq=b", set(), [], [("xq", "b")]),  # only looks like its end
        ("sort=x&like=y", {"sort"}, [("sort", "x")], [("like", "y")]),  # a link of another kind
    ],
    ids=str,
)
def test_what_a_link_names_is_told_from_what_the_page_left_behind(
    asked: str, bound: set[str], before: list[tuple[str, str]], named: list[tuple[str, str]]
) -> None:
    assert split(asked, LINKS, bound) == (before, named)
