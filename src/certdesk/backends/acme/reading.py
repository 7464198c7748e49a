"""Plain settings read into what they must be: texts, lists, files. What does not fit is Misconfigured."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from certdesk.domain.errors import Misconfigured


class Settings:
    """One section of the configuration; `where` names it in messages, such as “Back end sectigo”."""

    def __init__(self, where: str, values: Mapping[str, object], *, known: Iterable[str]) -> None:
        """Raises Misconfigured for a setting that nobody knows."""
        self.where, self._values = where, values
        if unknown := sorted(set(values) - set(known)):
            raise Misconfigured(f"{where}: unknown settings {', '.join(unknown)}. Remove them.")

    def text(self, key: str, *, default: str | None = None) -> str:
        """A text; without a default it has to be given, and not to be empty."""
        value = self._values.get(key, default)
        if not isinstance(value, str) or (default is None and not value):
            raise Misconfigured(f"{self.where}: set {key} to a text.")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty when it is not given."""
        value = self._values.get(key, ())
        if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) and one for one in value):
            raise Misconfigured(f"{self.where}: {key} must be a list of texts.")
        return tuple(value)

    def path(self, key: str) -> Path | None:
        """The path of a file or folder; None when it is not given."""
        value = self._values.get(key)
        if value is not None and (not isinstance(value, (str, Path)) or not str(value)):
            raise Misconfigured(f"{self.where}: {key} must be a path.")
        return None if value is None else Path(value)

    def existing_path(self, key: str) -> Path:
        """As `path`, and it has to be given."""
        value = self.path(key)
        if value is None:
            raise Misconfigured(f"{self.where}: set {key} to a path.")
        return value

    def number(self, key: str, *, default: float) -> float:
        """A number above nought."""
        value = self._values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            raise Misconfigured(f"{self.where}: {key} must be a number above 0.")
        return float(value)

    def flag(self, key: str) -> bool:
        """True or false; false when it is not given."""
        value = self._values.get(key, False)
        if not isinstance(value, bool):
            raise Misconfigured(f"{self.where}: {key} must be true or false.")
        return value

    def section(self, key: str, *, short_for: str = "") -> Mapping[str, object] | None:
        """A section of its own; None when it is not given. A text may stand for one with this setting."""
        value = self._values.get(key)
        if short_for and isinstance(value, str):
            return {short_for: value}
        if value is not None and not isinstance(value, Mapping):
            raise Misconfigured(f"{self.where}: {key} must be a section.")
        return value


def secret_file(path: Path, *, what: str) -> str:
    """The text of a file that holds a secret, without white space around it. Raises Misconfigured."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{what} can't be read from {path}: {error}") from error
    if not text:
        raise Misconfigured(f"{what} is missing: {path} is empty.")
    return text
