"""Prompts and the completions that fit them: an example in, chat messages and texts out.

What describes the archetype, and the instructions, come first and are the same for all of its
questions; question and options come last. So a model reads the common part once.
"""

from collections.abc import Sequence

from dvmap_jax.survey.corpus import Example
from dvmap_jax.survey.phrases import description, facts

TEMPLATES = ("reasoning", "answer", "released")

_ORIGINAL = "Respond in the following format:|<reasoning>|{}|</reasoning>|<answer>|{}|</answer>|"
SYSTEM_PROMPTS = {
    "default": "You answer survey questions as the person described would.",
    # The original's, to the letter: indented in training, another one in its evaluator.
    "original_train": ("|" + _ORIGINAL.format("...", "...")).replace("|", "\n" + " " * 24),
    "original_eval": ("|" + _ORIGINAL.format(" ...", "  ...")).replace("|", "\n"),
    "none": "",
}

ANSWER_PROMPT = """\
{description}
Answer as this person: copy one option. Format: <answer>OPTION</answer>

"""

REASONING_PROMPT = """\
{description}

Answer a survey question as this person would. Work in three steps.
1. Attributes: take the person's attributes one by one (country, life stage, family, education, \
work, income, religion, language) and say in a few words what each means for the question.
2. Options: take the options one by one and say what speaks for and against each.
3. Answer: choose the one option that fits this person best and copy it word for word.
Write steps 1 and 2 between <reasoning> and </reasoning>, and only the chosen option between \
<answer> and </answer>. For example, for the question "Tea or coffee?" with the options \
"Tea, Coffee":
<reasoning>
Country: most people there drink tea. Work: a short break is enough for either.
Tea: it is the custom. Coffee: it is dearer.
</reasoning>
<answer>
Tea
</answer>

"""
QUESTION_PART = "Question: {question}\nOptions: {options}"


def messages(example: Example, *, template: str, system_prompt: str) -> list[dict[str, str]]:
    """Chat messages of an example; `system_prompt` names one of SYSTEM_PROMPTS."""
    if system_prompt not in SYSTEM_PROMPTS:
        raise ValueError(
            f"system prompt {system_prompt!r} is unknown; use one of {tuple(SYSTEM_PROMPTS)}"
        )
    system = SYSTEM_PROMPTS[system_prompt]
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": user_prompt(example, template=template)}]


def user_prompt(example: Example, *, template: str) -> str:
    """The text put to the model as the user's."""
    _check(template)
    if template == "released":
        if not example.prompt:
            raise ValueError(
                f"example {example.question_id} ({example.country}) has no released prompt; "
                "use the template 'reasoning' or 'answer'"
            )
        return example.prompt
    return archetype_part(example.attributes, template=template) + question_part(
        example.question, example.option_list
    )


def archetype_part(attributes: Sequence[str], *, template: str) -> str:
    """The beginning of every prompt to an archetype, up to the question."""
    form = ANSWER_PROMPT if template == "answer" else REASONING_PROMPT
    return form.format(description=description(attributes))


def question_part(question: str, options: Sequence[str]) -> str:
    """The end of every prompt with a question."""
    return QUESTION_PART.format(question=question, options=", ".join(options))


def option_completion(option: str, *, template: str) -> str:
    """The completion that gives an option as the answer and nothing else."""
    _check(template)
    if template == "answer":
        return f"<answer>{option}</answer>"
    return f"<answer>\n{option}\n</answer>"


def gold_completion(example: Example, *, template: str) -> str:
    """The completion a supervised warm start imitates: the example's own answer.

    The reasoning states what is known (who was asked, what, with which options, and what people
    so described answered) and claims no cause.
    """
    answer = option_completion(example.answer, template=template)
    if template == "answer":
        return answer
    known = facts(example.attributes)
    asked = f"Question: {example.question}\nOptions: {', '.join(example.option_list)}"
    said = f"People described like this answered: {example.answer}."
    return f"<reasoning>\n{known}\n{asked}\n{said}\n</reasoning>\n{answer}"


def _check(template: str) -> None:
    if template not in TEMPLATES:
        raise ValueError(f"template {template!r} is unknown; use one of {TEMPLATES}")
