"""The log of a run: a JSON object a line, and nothing later than the state it resumes from."""

import json
import pathlib
import time

from training.data.tasks.written import Span

LOG = "log.jsonl"


class Log:
    def __init__(self, directory: pathlib.Path, first_step: int) -> None:
        self._path = directory / LOG
        records = read_log(self._path) if self._path.exists() else []
        kept = [record for record in records if record["step"] < first_step]
        lines = "".join(json.dumps(record) + "\n" for record in kept)
        self._path.write_text(lines, encoding="utf-8")
        self._n_tokens = 0
        self._since = time.perf_counter()
        self._answers: dict[str, list[int]] = {}

    def count(self, n_tokens: int) -> None:
        self._n_tokens += n_tokens

    def add_answers(self, spans: list[list[Span]], correct: list[list[bool]]) -> None:
        """`correct[b][t]`: whether token t + 1 of sequence b was foreseen."""
        for sequence, right in zip(spans, correct, strict=True):
            for span in sequence:
                whole = all(right[span.first - 1 : span.last - 1])
                n_right, n_all = self._answers.setdefault(span.task, [0, 0])
                self._answers[span.task] = [n_right + whole, n_all + 1]

    def write(self, record: dict[str, object]) -> dict[str, object]:
        """Adds speed and the share of whole answers since the last record."""
        now = time.perf_counter()
        record["tokens_per_s"] = round(self._n_tokens / (now - self._since))
        record["answers_right"] = {
            task: [n_right, n_all] for task, (n_right, n_all) in sorted(self._answers.items())
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self._n_tokens, self._since, self._answers = 0, now, {}
        return record


def read_log(path: pathlib.Path) -> list[dict]:  # type: ignore[type-arg]
    """A last line that was cut off is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records
