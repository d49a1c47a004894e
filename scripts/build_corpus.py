"""Builds a corpus: `build_corpus.py --survey=FILE.csv|synthetic --output=DIR [--rule=consensus]`.

The survey is a csv file of World Values Survey wave 7 (also .csv.gz or .zip), any other with a
codebook of its own (`--codebook=FILE.json`), or an invented one, left in `DIR_survey`.
"""

import pathlib

from absl import flags

from dvmap_jax.command import moving_bar, run_main
from dvmap_jax.survey.archetypes import RULES, RuleConfig
from dvmap_jax.survey.benchmark import BenchmarkConfig
from dvmap_jax.survey.build import BuildConfig, build_corpus, file_hash
from dvmap_jax.survey.codebook import RELEASED_QUESTIONS, read_codebook, wave7
from dvmap_jax.survey.corpus import SYNTHETIC
from dvmap_jax.survey.respondents import read_respondents
from dvmap_jax.survey.synthetic import planted_by_question
from dvmap_jax.survey.synthetic_survey import write_synthetic_survey

SURVEY = flags.DEFINE_string("survey", None, "The survey's file.", required=True)
OUTPUT = flags.DEFINE_string("output", None, "Folder of the corpus.", required=True)
CODEBOOK = flags.DEFINE_string("codebook", "", "Codebook of another survey than wave 7.")
RULE = flags.DEFINE_enum("rule", "released", RULES, "How answers and cells are chosen.")
QUESTION_IDS = flags.DEFINE_list("questions", [], "Question ids, or all; default the released 16.")
COUNTRIES = flags.DEFINE_list("countries", [], "Only these countries; separated by semicolons.")
WAVES = flags.DEFINE_list("waves", [], "Only these waves.")
ATTRIBUTES = flags.DEFINE_list("attributes", [], "Group by these attributes alone.")
MIN_SUPPORT = flags.DEFINE_integer("min_support", 2, "Respondents a consensus needs.")
MAX_ENTROPY = flags.DEFINE_float("max_entropy", 0.5, "Entropy a consensus may have; 0: unanimous.")
WEIGHTED = flags.DEFINE_bool("weighted", False, "Count respondents by their survey weights.")
TRAIN = flags.DEFINE_integer("train", 0, "Training archetypes a country; 0 means the rest.")
DEV = flags.DEFINE_float("dev", 0.1, "Share or number of archetypes a country.")
TEST = flags.DEFINE_float("test", 0.1, "Share or number of archetypes a country.")
UNSEEN = flags.DEFINE_float("cross_demographic", 0.1, "Share or number of archetypes a country.")
HELD_COUNTRIES = flags.DEFINE_list("heldout_countries", [], "Separated by semicolons.")
HELD_QUESTIONS = flags.DEFINE_list("heldout_questions", [], "Question ids.")
SEED = flags.DEFINE_integer("seed", 0, "Of the splits, and of the synthetic survey.")
RESPONDENTS = flags.DEFINE_integer("respondents", 20_000, "Of the synthetic survey.")
UNKNOWN = flags.DEFINE_enum("unknown", "error", ("error", "missing"), "What unknown codes are.")


def main() -> None:
    """Reads, builds, and prints how many examples are where."""
    codebook = read_codebook(pathlib.Path(CODEBOOK.value)) if CODEBOOK.value else wave7()
    output, path = pathlib.Path(OUTPUT.value), pathlib.Path(SURVEY.value)
    if SURVEY.value == SYNTHETIC:
        people = {"num_respondents": RESPONDENTS.value, "seed": SEED.value}
        path = write_synthetic_survey(output.with_name(f"{output.name}_survey"), **people)
    with moving_bar("reading", "B") as progress:
        respondents = read_respondents(
            path,
            codebook,
            questions=chosen_questions(codebook),
            countries=names(COUNTRIES),
            waves=tuple(int(wave) for wave in WAVES.value),
            unknown=UNKNOWN.value,
            progress=progress,
        )
    source = {"file": path.name, "sha256": file_hash(path)}
    invented = SURVEY.value == SYNTHETIC and not ATTRIBUTES.value
    planted = planted_by_question if invented else None
    with moving_bar("building", "question") as progress:
        built = build_corpus(
            respondents, output, build_config(), source=source, planted=planted, progress=progress
        )
    print(f"{built['num_respondents']} respondents, {built['num_archetypes']} archetypes")
    for name, count in built["num_examples"].items():
        print(f"{name:18} {count:9} examples")


def chosen_questions(codebook):
    """The questions the flags name: all, some, or the released ones that the codebook has."""
    if QUESTION_IDS.value == ["all"]:
        return codebook.questions
    released = set(RELEASED_QUESTIONS) & {q.id for q in codebook.questions}
    return codebook.chosen(tuple(QUESTION_IDS.value) or tuple(released))


def build_config() -> BuildConfig:
    """What the flags ask for."""
    how = {"min_support": MIN_SUPPORT.value, "max_entropy": MAX_ENTROPY.value}
    rule = RuleConfig(RULE.value, tuple(ATTRIBUTES.value), **how, weighted=WEIGHTED.value)
    held = {
        "heldout_countries": names(HELD_COUNTRIES),
        "heldout_questions": tuple(HELD_QUESTIONS.value),
    }
    sizes = (TRAIN.value, DEV.value, TEST.value, UNSEEN.value)
    return BuildConfig(rule, BenchmarkConfig(*sizes, **held, seed=SEED.value))


def names(flag) -> tuple[str, ...]:
    """Country names; they may hold commas, so semicolons separate them."""
    return tuple(name.strip() for name in ",".join(flag.value).split(";") if name.strip())


if __name__ == "__main__":
    run_main(main)
