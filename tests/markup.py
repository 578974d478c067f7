"""A name full of markup, and the content of a page, whose structure no name may change."""

import html.parser
import re

import markdown_it

PAYLOAD = (
    "</td></p><script>alert(1)</script><img src='x' onerror=\"alert(1)\"> | a\n\n# b\n- c\n"
    "![d](http://e) [f](javascript:g) `h` **i** _j_ ~~k~~ $l$ {{ 7*7 }} {% endfor %} &lt;m&gt;\\"
)
HARMLESS = "x" * len(PAYLOAD)


class Content(html.parser.HTMLParser):
    """Content of an HTML page.

    Attributes:
        tags: each tag with the names of its attributes, in their order.
        text: the page's text, as a browser shows it.
    """

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, *(name for name, _ in attrs)))

    def handle_endtag(self, tag):
        self.tags.append((f"/{tag}",))

    def handle_data(self, data):
        self.text += data


def rendered(markdown: str) -> str:
    """HTML of a Markdown file, by CommonMark with the tables and the strikethrough of GitHub.

    Metadata at its start is not part of the page.
    """
    markdown = re.sub(r"\A---\n.*?\n---\n", "", markdown, flags=re.DOTALL)
    renderer = markdown_it.MarkdownIt("commonmark", {"html": True})
    return renderer.enable(["table", "strikethrough"]).render(markdown)
