"""An archetype in plain English: attribute labels in, sentences addressed to "you" out."""

import re

from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES, NOT_ANSWERED

COUNTRIES = {
    "United States of America": "the United States",
    "United Kingdom of Great Britain and Northern Ireland": "the United Kingdom",
    "Russian Federation": "Russia",
}
GENDERS = {"Male": "man", "Female": "woman"}
LIFE_STAGES = {
    "Adolescence": "under 18",
    "Young Adulthood": "aged 18 to 34",
    "Middle Adulthood": "aged 35 to 50",
    "Late Adulthood": "aged 51 to 64",
    "Older Adulthood": "aged 65 or over",
}
MARITAL_STATUSES = {
    "Married": "are married",
    "Living together as married": "live with a partner",
    "Divorced": "are divorced",
    "Separated": "are separated",
    "Widowed": "are widowed",
    "Single": "are single",
}
CHILDREN = {"has no children": "have no children", "has at least one child": "have children"}
EDUCATION_LEVELS = {
    "Early childhood education (ISCED 0) / no education": "had no schooling",
    "Primary education (ISCED 1)": "finished primary school",
    "Lower secondary education (ISCED 2)": "finished lower secondary school",
    "Upper secondary education (ISCED 3)": "finished upper secondary school",
    "Post-secondary non-tertiary education (ISCED 4)": "took a post-secondary course",
    "Short-cycle tertiary education (ISCED 5)": "took a short college course",
    "Bachelor or equivalent (ISCED 6)": "hold a bachelor's degree",
    "Master or equivalent (ISCED 7)": "hold a master's degree",
    "Doctoral or equivalent (ISCED 8)": "hold a doctorate",
}
OCCUPATIONS = {
    "Full time employee (30 hours a week or more)": "work full time",
    "Part time employee (less than 30 hours a week)": "work part time",
    "Self employed": "are self-employed",
    "Retired/pensioned": "are retired",
    "Housewife not otherwise employed": "keep house",
    "Student": "are a student",
    "Unemployed": "are unemployed",
    "Other (write in):": "have another kind of occupation",
}
WORKING = tuple(OCCUPATIONS)[:3]
SECTORS = {
    "Government or public institution": "the public sector",
    "Private business or industry": "private business",
    "Private non-profit organization": "a non-profit organization",
}
INCOMES = {"Low income": "low", "Middle income": "in the middle", "High income": "high"}
RELIGIONS = {
    "Catholic, nfd": "are Catholic",
    "Roman Catholic; Latin Church;": "are Roman Catholic",
    "Protestant; nfd": "are Protestant",
    "Protestant Free Church of Germany": "belong to a German Protestant free church",
    "Evangelical Lutheran Church of Brazil": "belong to Brazil's Lutheran church",
    "Presbyterianism": "are Presbyterian",
    "Methodist; nfd": "are Methodist",
    "Evangelical; nfd": "are Evangelical",
    "Protestant Churches without free churches (Germany)": "belong to Germany's Protestant church",
    "Orthodox ; nfd": "are Orthodox",
    "Eastern Orthodox; nfd": "are Eastern Orthodox",
    "Russian Orthodox Church": "are Russian Orthodox",
    "Judaism": "are Jewish",
    "Islam; nfd": "are Muslim",
    "Hindu": "are Hindu",
    "Buddhist": "are Buddhist",
    "Other Christian; nfd": "are a Christian of another church",
    "The Church of Jesus Christ of Latter-day Saints": "are a Latter-day Saint",
    "Other; nfd": "have another religion",
    "Sikhism": "are Sikh",
    "Spiritism": "are a Spiritist",
    "Secular /Nonreligious /Agnostic/Atheist; nfd": "are secular",
    "Non-religious": "have no religion",
    "Atheist": "are an atheist",
}
LANGUAGES = {
    "Bengali; Bangla": "Bengali",
    "Punjabi, Panjabi": "Punjabi",
    "Standard Chinese; Mandarin; Putonghua; Guoyu": "Mandarin Chinese",
    "Other Chinese dialects": "a Chinese dialect",
    "Other": "another language",
}


NOBODY = "You are a person of whom nothing is known."


def description(attributes: tuple[str, ...]) -> str:
    """Sentences about an archetype; what was not answered is left out.

    No attributes at all are somebody nothing is known of: what a question alone is asked with.
    """
    if not attributes:
        return NOBODY
    labels = dict(zip(ATTRIBUTE_NAMES, attributes, strict=True))
    sentences = (
        _person(labels),
        _sentence("You", _family(labels)),
        _sentence("You", _phrase(labels, "Education Level")),
        _work(labels),
        _sentence("Your household's income is", _phrase(labels, "Income Bracket")),
        _sentence("You", _phrase(labels, "Religion")),
        _sentence("You speak", _phrase(labels, "Common Language")),
    )
    return " ".join(sentence for sentence in sentences if sentence)


PHRASES = {
    "Country": COUNTRIES,
    "Gender": GENDERS,
    "Marital Status": MARITAL_STATUSES,
    "Has Children": CHILDREN,
    "Education Level": EDUCATION_LEVELS,
    "Occupation": OCCUPATIONS,
    "Work Nature": SECTORS,
    "Religion": RELIGIONS,
    "Life Stage": LIFE_STAGES,
    "Income Bracket": INCOMES,
    "Common Language": LANGUAGES,
}
GENERAL = {  # how a label that has no phrase of its own fits its sentence
    "Gender": "person ({})",
    "Marital Status": "have the marital status {!r}",
    "Has Children": "have this said of your children: {!r}",
    "Occupation": "have the occupation {!r}",
    "Education Level": "have the education {!r}",
    "Religion": "have the religion {!r}",
    "Life Stage": "in {}",
}


def _phrase(labels: dict[str, str], name: str) -> str:
    """How a label reads within its sentence, "" where it was not answered."""
    label = labels[name]
    if label == NOT_ANSWERED:
        return ""
    return PHRASES[name].get(label) or GENERAL.get(name, "{}").format(_plain(label))


def _sentence(start: str, phrase: str) -> str:
    return f"{start} {phrase}." if phrase else ""


def _person(labels: dict[str, str]) -> str:
    stage = _phrase(labels, "Life Stage")
    country = _phrase(labels, "Country")
    person = f"You are a {_phrase(labels, 'Gender') or 'person'}{' from ' if country else ''}"
    return f"{person}{country}{', ' if stage else ''}{stage}."


def _family(labels: dict[str, str]) -> str:
    known = (_phrase(labels, "Marital Status"), _phrase(labels, "Has Children"))
    return " and ".join(phrase for phrase in known if phrase)


def _work(labels: dict[str, str]) -> str:
    """Occupation and sector; who does not work now was asked for the sector of before."""
    occupation, sector = _phrase(labels, "Occupation"), _phrase(labels, "Work Nature")
    if sector and labels["Occupation"] in WORKING:
        return f"You {occupation} in {sector}."
    sentences = (_sentence("You", occupation), _sentence("Your line of work is", sector))
    return " ".join(sentence for sentence in sentences if sentence)


def facts(attributes: tuple[str, ...]) -> str:
    """The answered attributes one by one, as name and label."""
    if not attributes:
        return NOBODY
    named = zip(ATTRIBUTE_NAMES, attributes, strict=True)
    return " ".join(f"{name}: {_plain(label)}." for name, label in named if label != NOT_ANSWERED)


def _plain(label: str) -> str:
    """A label without the codebook's marks (nfd: not further defined)."""
    return re.sub(r"\s*[;,]\s*nfd$|[;:]$", "", label.strip()).strip()
