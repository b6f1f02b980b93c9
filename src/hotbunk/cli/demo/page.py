"""Dialogue on a terminal, as it comes: who speaks, and beside the name whole words, wrapped."""

from rich.console import Console
from rich.text import Text

__all__ = ["Page"]

WIDTH = 100
"""Columns at most: longer lines are hard to read."""


class Page:
    """Writes what several voices say, piece by piece. ``styles`` gives each voice's name its look."""

    def __init__(self, console: Console, styles: dict[str, str]) -> None:
        self.console = console
        self._styles = styles
        self._margin = max(map(len, styles)) + 2
        self._width = min(console.width, WIDTH) - self._margin
        self._voice = self._word = ""
        self._column = 0

    def heading(self, text: str) -> None:
        """Begin a part."""
        self.end()
        self.console.print(f"\n[bold]{text}[/bold]")

    def say(self, voice: str, text: str, style: str = "") -> None:
        """Go on with what ``voice`` says; on a new line if another one spoke before."""
        if voice != self._voice:
            self.end()
            self._voice = voice
            self._print(f"{voice:{self._margin}}", self._styles[voice])
        # the last word may go on in the next piece
        *words, self._word = (self._word + text).replace("\n", " \n ").split(" ")
        for word in words:
            self._put(word, style)

    def end(self) -> None:
        """End the line, if one was begun."""
        self._put(self._word)
        if self._voice:
            self._print("\n")
        self._voice, self._word, self._column = "", "", 0

    def _put(self, word: str, style: str = "") -> None:
        if self._column and (word == "\n" or self._column + 1 + len(word) > self._width):
            self._print("\n" + " " * self._margin)
            self._column = 0
        if word.strip():
            word = " " * (self._column > 0) + word
            self._print(word, style)
            self._column += len(word)

    def _print(self, text: str, style: str = "") -> None:
        self.console.print(Text(text, style), end="", soft_wrap=True)
