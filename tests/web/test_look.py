from __future__ import annotations

from PIL import Image

from renoise.web import look
from renoise.web.happenings import Pass, Waiting


def test_text_of_strangers_is_no_html() -> None:
    for made in (look.header(["<script>"]), look.status("<script>"), look.title("<script>")):
        assert "<script>" not in made
        assert "&lt;script&gt;" in made


def test_progress_has_a_bar_and_the_image_so_far() -> None:
    made = look.progress_bar(Pass("editing", 3, 8, 249.0, 2, 4, Image.new("RGB", (4, 4))))
    assert 'value="3" max="8"' in made
    assert 'alt="The image so far" src="data:image/png;base64,' in made
    assert "<img" not in look.progress_bar(Pass("editing", 3, 8, 249.0, 2, 4))
    assert "1 request comes first" in look.progress_bar(Waiting(1))


def test_nothing_is_fetched_for_the_look() -> None:
    assert "http" not in look.CSS
    assert "url(" not in look.CSS
