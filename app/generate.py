"""`textrnn generate`: the text that the command prints."""

from __future__ import annotations

from collections.abc import Iterator

from app.prediction.predictor import Predictor
from app.tasks.generation.sampling import Options, generate, stream
from app.terminal.printable import json_line


def output(
    predictor: Predictor,
    prompt: str,
    options: Options,
    *,
    samples: int = 1,
    streams: bool = False,
    as_json: bool = False,
) -> Iterator[str]:
    """Yield the output of the command in pieces.

    Args:
        predictor: the model.
        prompt: text to continue; empty: the start of a document.
        options: of the generation; the i-th text uses the seed plus i.
        samples: number of texts.
        streams: yield one sampled text while it is generated.
        as_json: yield a line with a JSON object for each text.

    Raises:
        UserError: the model does not generate text, or does not know the label.
    """
    begin = prompt.encode(errors="surrogateescape").decode(errors="replace")  # invalid UTF-8
    if streams:
        yield begin
        yield from stream(predictor, prompt, options)
        yield "\n"
        return
    for i, generated in enumerate(generate(predictor, [prompt] * samples, options)):
        if as_json:
            line = {"prompt": begin, "text": generated.text, "score": round(generated.score, 6)}
            yield json_line(line) + "\n"
        else:
            yield "\n---\n" * (i > 0) + begin + generated.text + "\n"
