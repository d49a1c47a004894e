"""Prompts and the completions that fit them: an example in, chat messages and texts out.

What describes the archetype, and the instructions, come first and are the same for all of its
questions; question and options come last. So a model reads the common part once.
"""

from collections.abc import Sequence

from dvmap_jax.survey.corpus import Example
from dvmap_jax.survey.phrases import description, facts

# The same request in other words, by the template that the completions' form is named after.
REWORDED = {
    "reasoning": ("reasoning_reworded_1", "reasoning_reworded_2"),
    "answer": ("answer_reworded_1", "answer_reworded_2"),
}
FIXED = ("released",)  # prompts that stand in the corpus
FAMILIES = {name: family for family, names in REWORDED.items() for name in (family, *names)}
TEMPLATES = ("reasoning", "answer", *FIXED, *(n for names in REWORDED.values() for n in names))

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

# What begins a prompt, and how it ends with the question.
FORMS = {
    "answer": (ANSWER_PROMPT, QUESTION_PART),
    "answer_reworded_1": (
        """\
{description}
How would this person reply to the survey? Give the reply by repeating one of the options word \
for word, like this: <answer>OPTION</answer>

""",
        "The survey asks: {question}\nOne of: {options}",
    ),
    "answer_reworded_2": (
        """\
A survey interview. About the person who is asked: {description}
Write what the person picks from the list, unchanged, between <answer> and </answer>.

""",
        "Item: {question}\nList: {options}",
    ),
    "reasoning": (REASONING_PROMPT, QUESTION_PART),
    "reasoning_reworded_1": (
        """\
{description}

A survey puts a question to this person. Find out, in three stages, which reply the person gives.
First, go through all that is known of the person, from country and life stage to income, \
religion and language, and note briefly what each point suggests here.
Second, go through the replies on offer and note what makes each one likely or unlikely.
Third, settle on the single most fitting reply and repeat it exactly as it is written.
The first two stages go inside <reasoning> and </reasoning>, the reply by itself inside <answer> \
and </answer>. Suppose the question were "Bus or train?" and the replies "Bus, Train":
<reasoning>
Country: trains reach every town there. Family: children travel more easily by train.
Bus: it is cheap. Train: it is faster.
</reasoning>
<answer>
Train
</answer>

""",
        "The survey asks: {question}\nReplies: {options}",
    ),
    "reasoning_reworded_2": (
        """\
A survey interview. About the person who is asked: {description}

Say what this person replies, thinking before you decide:
- Person: for the country, life stage, family, education, work, income, religion and language, \
one remark each on how it bears on the item.
- List: for every entry of the list, one remark for it and one against it.
- Decision: the one entry this person picks, letter by letter as in the list.
Put the remarks between <reasoning> and </reasoning>, and the decision alone between <answer> and \
</answer>. An example, for the item "Sea or mountains?" and the list "Sea, Mountains":
<reasoning>
Country: it has a long coast. Income: either can be reached cheaply.
Sea: it is close by. Mountains: they are cooler in summer.
</reasoning>
<answer>
Sea
</answer>

""",
        "Item: {question}\nList: {options}",
    ),
}


def messages(example: Example, *, template: str, system_prompt: str) -> list[dict[str, str]]:
    """Chat messages of an example; `system_prompt` names one of SYSTEM_PROMPTS."""
    return wrapped(user_prompt(example, template=template), system_prompt=system_prompt)


def wrapped(text: str, *, system_prompt: str) -> list[dict[str, str]]:
    """A user's text as chat messages; `system_prompt` names one of SYSTEM_PROMPTS."""
    if system_prompt not in SYSTEM_PROMPTS:
        raise ValueError(
            f"system prompt {system_prompt!r} is unknown; use one of {tuple(SYSTEM_PROMPTS)}"
        )
    system = SYSTEM_PROMPTS[system_prompt]
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": text}]


def user_prompt(example: Example, *, template: str) -> str:
    """The text put to the model as the user's."""
    _check(template)
    if template in FIXED:
        if not example.prompt:
            raise ValueError(
                f"example {example.question_id} ({example.country}) has no released prompt; "
                "use the template 'reasoning' or 'answer'"
            )
        return example.prompt
    return archetype_part(example.attributes, template=template) + question_part(
        example.question, example.option_list, template=template
    )


def archetype_part(attributes: Sequence[str], *, template: str) -> str:
    """The beginning of every prompt to an archetype, up to the question."""
    return FORMS[template][0].format(description=description(attributes))


def question_part(question: str, options: Sequence[str], *, template: str = "reasoning") -> str:
    """The end of every prompt with a question."""
    return FORMS[template][1].format(question=question, options=", ".join(options))


def rewordings(template: str) -> tuple[str, ...]:
    """Templates that ask the same in other words, for completions of the same form."""
    _check(template)
    family = FAMILIES.get(template)
    names = (family, *REWORDED[family]) if family else ()
    return tuple(name for name in names if name != template)


def option_completion(option: str, *, template: str) -> str:
    """The completion that gives an option as the answer and nothing else."""
    _check(template)
    if FAMILIES.get(template) == "answer":
        return f"<answer>{option}</answer>"
    return f"<answer>\n{option}\n</answer>"


def gold_completion(example: Example, *, template: str) -> str:
    """The completion a supervised warm start imitates: the example's own answer.

    The reasoning states what is known (who was asked, what, with which options, and what people
    so described answered) and claims no cause.
    """
    answer = option_completion(example.answer, template=template)
    if FAMILIES.get(template) == "answer":
        return answer
    known = facts(example.attributes)
    asked = f"Question: {example.question}\nOptions: {', '.join(example.option_list)}"
    said = f"People described like this answered: {example.answer}."
    return f"<reasoning>\n{known}\n{asked}\n{said}\n</reasoning>\n{answer}"


def _check(template: str) -> None:
    if template not in TEMPLATES:
        raise ValueError(f"template {template!r} is unknown; use one of {TEMPLATES}")
