"""World Values Survey wave 7: the attributes and questions of the corpus, and their labels.

Codes are those of the WVS-7 codebook; negative codes are missing. Country names are the United
Nations' (M49), as in the released corpus. Only this file spells the survey's variables.
"""

import dataclasses
import difflib
from collections.abc import Iterable

NOT_ANSWERED = "Not Answered"


@dataclasses.dataclass(frozen=True)
class Attribute:
    """A demographic column, the survey variable behind it, and its labels by code."""

    name: str
    variable: str
    labels: tuple[tuple[int, str], ...]

    @property
    def values(self) -> tuple[str, ...]:
        """Labels in codebook order."""
        return tuple(label for _, label in self.labels)


@dataclasses.dataclass(frozen=True)
class Question:
    """A survey question in our own wording, with its options in codebook order."""

    id: str
    category: str
    text: str
    options: tuple[str, ...]


COUNTRY = Attribute(
    "Country",
    "B_COUNTRY",
    (
        (840, "United States of America"),
        (356, "India"),
        (818, "Egypt"),
        (392, "Japan"),
        (124, "Canada"),
        (276, "Germany"),
        (76, "Brazil"),
        (826, "United Kingdom of Great Britain and Northern Ireland"),
        (156, "China"),
        (643, "Russian Federation"),
    ),
)
GENDER = Attribute("Gender", "Q260", ((1, "Male"), (2, "Female")))
MARITAL_STATUS = Attribute(
    "Marital Status",
    "Q273",
    (
        (1, "Married"),
        (2, "Living together as married"),
        (3, "Divorced"),
        (4, "Separated"),
        (5, "Widowed"),
        (6, "Single"),
    ),
)
HAS_CHILDREN = Attribute(  # the survey asks how many; 1 stands for one or more
    "Has Children", "Q274", ((0, "has no children"), (1, "has at least one child"))
)
EDUCATION_LEVEL = Attribute(
    "Education Level",
    "Q275",
    (
        (0, "Early childhood education (ISCED 0) / no education"),
        (1, "Primary education (ISCED 1)"),
        (2, "Lower secondary education (ISCED 2)"),
        (3, "Upper secondary education (ISCED 3)"),
        (4, "Post-secondary non-tertiary education (ISCED 4)"),
        (5, "Short-cycle tertiary education (ISCED 5)"),
        (6, "Bachelor or equivalent (ISCED 6)"),
        (7, "Master or equivalent (ISCED 7)"),
        (8, "Doctoral or equivalent (ISCED 8)"),
    ),
)
OCCUPATION = Attribute(
    "Occupation",
    "Q279",
    (
        (1, "Full time employee (30 hours a week or more)"),
        (2, "Part time employee (less than 30 hours a week)"),
        (3, "Self employed"),
        (4, "Retired/pensioned"),
        (5, "Housewife not otherwise employed"),
        (6, "Student"),
        (7, "Unemployed"),
        (8, "Other (write in):"),
    ),
)
WORK_NATURE = Attribute(
    "Work Nature",
    "Q284",
    (
        (1, "Government or public institution"),
        (2, "Private business or industry"),
        (3, "Private non-profit organization"),
    ),
)
RELIGION = Attribute(
    "Religion",
    "Q289CS9",
    (
        (10000000, "Catholic, nfd"),
        (10100000, "Roman Catholic; Latin Church;"),
        (20000000, "Protestant; nfd"),
        (20206022, "Protestant Free Church of Germany"),
        (20213020, "Evangelical Lutheran Church of Brazil"),
        (20302000, "Presbyterianism"),
        (20700000, "Methodist; nfd"),
        (21400000, "Evangelical; nfd"),
        (21621100, "Protestant Churches without free churches (Germany)"),
        (30000000, "Orthodox ; nfd"),
        (30100000, "Eastern Orthodox; nfd"),
        (30106000, "Russian Orthodox Church"),
        (40000000, "Judaism"),
        (50000000, "Islam; nfd"),
        (60000000, "Hindu"),
        (70000000, "Buddhist"),
        (80000000, "Other Christian; nfd"),
        (80213121, "The Church of Jesus Christ of Latter-day Saints"),
        (90000000, "Other; nfd"),
        (90400000, "Sikhism"),
        (90500000, "Spiritism"),
        (100000000, "Secular /Nonreligious /Agnostic/Atheist; nfd"),
        (100000020, "Non-religious"),
        (100000040, "Atheist"),
    ),
)
LIFE_STAGE = Attribute(  # labelled by the youngest age of the stage, in years
    "Life Stage",
    "Q262",
    (
        (0, "Adolescence"),
        (18, "Young Adulthood"),
        (35, "Middle Adulthood"),
        (51, "Late Adulthood"),
        (65, "Older Adulthood"),
    ),
)
INCOME_BRACKET = Attribute(  # labelled by the lowest of the ten steps of the bracket
    "Income Bracket", "Q288", ((1, "Low income"), (4, "Middle income"), (8, "High income"))
)
COMMON_LANGUAGE = Attribute(
    "Common Language",
    "Q272",
    (
        (170, "Arabic"),
        (490, "Bengali; Bangla"),
        (790, "Cantonese"),
        (860, "Chechen"),
        (1240, "English"),
        (1400, "French"),
        (1530, "German"),
        (1740, "Hindi"),
        (2020, "Japanese"),
        (2870, "Standard Chinese; Mandarin; Putonghua; Guoyu"),
        (2940, "Marathi"),
        (3520, "Polish"),
        (3530, "Portuguese"),
        (3540, "Punjabi, Panjabi"),
        (3630, "Russian"),
        (4220, "Telugu"),
        (4470, "Vietnamese"),
        (9000, "Other"),
        (9060, "Other Chinese dialects"),
    ),
)

# In the order of the released columns.
ATTRIBUTES = (
    COUNTRY,
    GENDER,
    MARITAL_STATUS,
    HAS_CHILDREN,
    EDUCATION_LEVEL,
    OCCUPATION,
    WORK_NATURE,
    RELIGION,
    LIFE_STAGE,
    INCOME_BRACKET,
    COMMON_LANGUAGE,
)
ATTRIBUTE_NAMES = tuple(attribute.name for attribute in ATTRIBUTES)

_SOCIAL = "SOCIAL VALUES, ATTITUDES & STEREOTYPES"
_HAPPINESS = "HAPPINESS AND WELL-BEING"
_TRUST = "SOCIAL CAPITAL, TRUST & ORGANIZATIONAL MEMBERSHIP"
_IMPORTANT = ("Very important", "Rather important", "Not very important", "Not at all important")
_AGREE = ("Strongly agree", "Agree", "Disagree", "Strongly disagree")
_AGREE_OR_NEITHER = (
    "Agree strongly",
    "Agree",
    "Neither agree nor disagree",
    "Disagree",
    "Disagree strongly",
)
_HAPPY = ("Very happy", "Rather happy", "Not very happy", "Not at all happy")
_LEVEL = ("Low", "Medium", "High")  # steps 1-3, 4-7 and 8-10 of a ten-point scale
_TRUSTING = (
    "Trust completely",
    "Trust somewhat",
    "Do not trust very much",
    "Do not trust at all",
)
_CONFIDENCE = ("A great deal", "Quite a lot", "Not very much", "None at all")
_SECURE = ("Very secure", "Quite secure", "Not very secure", "Not at all secure")

QUESTIONS = (
    Question("Q1", _SOCIAL, "How important to you is your family?", _IMPORTANT),
    Question("Q2", _SOCIAL, "How important to you are your friends?", _IMPORTANT),
    Question("Q3", _SOCIAL, "How important to you is your leisure time?", _IMPORTANT),
    Question("Q4", _SOCIAL, "How important to you is politics?", _IMPORTANT),
    Question("Q5", _SOCIAL, "How important to you is work?", _IMPORTANT),
    Question("Q6", _SOCIAL, "How important to you is religion?", _IMPORTANT),
    Question("Q27", _SOCIAL, "Has making your parents proud been a main goal of yours?", _AGREE),
    Question("Q29", _SOCIAL, "Do men on the whole make better political leaders?", _AGREE),
    Question(
        "Q36", _SOCIAL, "Are same-sex couples as good at parenting as others?", _AGREE_OR_NEITHER
    ),
    Question("Q46", _HAPPINESS, "All in all, how happy are you?", _HAPPY),
    Question("Q49", _HAPPINESS, "How satisfied are you with your life at present?", _LEVEL),
    Question("Q50", _HAPPINESS, "How satisfied are you with your household's finances?", _LEVEL),
    Question("Q60", _TRUST, "How far do you trust the people you know personally?", _TRUSTING),
    Question("Q69", _TRUST, "How much confidence do you have in the police?", _CONFIDENCE),
    Question("Q112", "CORRUPTION", "How much corruption is there in your country?", _LEVEL),
    Question("Q131", "SECURITY", "How secure do you feel at present?", _SECURE),
)

NOT_ASKED_IN = {"Egypt": ("Q36", "Q69")}  # by country, the questions left out there


def nearest_names(name: str, known: Iterable[str]) -> str:
    """Ends an error message: the known names most like `name`, or all where none is."""
    known = sorted(set(known))
    lower = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.4)
    close += [key for key in lower if name.lower() in key and key not in close]
    names = ", ".join(repr(lower[key]) for key in close) or ", ".join(map(repr, known))
    return f"nearest: {names}" if close else f"known: {names}"
