"""The one reader of answers: a completion and its options in, the index of an option out."""

import re

ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
OPEN, CLOSE = "<answer>", "</answer>"


def parse_options(options: str) -> tuple[str, ...]:
    """Options of a comma-joined list, in its order."""
    return tuple(option.strip() for option in options.split(","))


def answer_block(completion: str, window: int | None = None) -> str | None:
    """Text of the last answer block, or None where there is none or it is empty or dots.

    `window` limits the search to that many characters at the end of the completion.
    """
    blocks = ANSWER.findall(completion[-window:] if window else completion)
    block = blocks[-1].strip() if blocks else ""
    return None if block in ("", "...") else block


def read_strict(completion: str, options: tuple[str, ...], window: int | None = None) -> int | None:
    """Index of the option that the last answer block repeats to the letter, or None."""
    block = answer_block(completion, window)
    return options.index(block) if block in options else None


def read_lenient(
    completion: str, options: tuple[str, ...], window: int | None = None
) -> int | None:
    """Index of the one option named in the last answer block, or None.

    Case, punctuation and other words do not count. Longer options are looked for first and
    taken out, so an option is not found within another; a block that names two is not read.
    """
    block = answer_block(completion, window)
    if block is None:
        return None
    text = _plain(block)
    named = []
    for index in sorted(range(len(options)), key=lambda i: -len(_plain(options[i]))):
        option = _plain(options[index])
        if option in text:
            named.append(index)
            text = text.replace(option, " | ")
    return named[0] if len(named) == 1 else None


def original_verdict(completion: str, options: tuple[str, ...], answer: str) -> bool:
    """Whether the original's evaluator calls the completion correct (original.md A.9).

    It reads what lies between the last opening tag and the next closing one, and accepts the
    answer itself, or text that contains it and none of the other options.
    """
    tail = completion.rpartition(OPEN)[2] if OPEN in completion else ""
    block, closing, _ = tail.partition(CLOSE)
    block = block.strip()
    if not closing or not block:
        return False
    return block == answer or names_only(block, answer, options)


def names_only(block: str, answer: str, options: tuple[str, ...] | str) -> bool:
    """Whether the answer and none of the other options is a substring of the block."""
    others = (option for option in options if option != answer)
    return answer in block and all(other not in block for other in others)


def _plain(text: str) -> str:
    """Lower-case words between single spaces, with a space at either end."""
    words = re.findall(r"\w+", text.casefold())
    return f" {' '.join(words)} "
