"""Builds a corpus: `build_corpus.py --survey=FILE.csv|synthetic --output=DIR [--rule=consensus]`.

The survey is a csv file of World Values Survey wave 7 (also .csv.gz or .zip), another one with its
`--codebook=FILE.json`, several (commas between), or invented and left in `DIR_survey`.
"""

import json
import pathlib

from absl import flags

from dvmap_jax.command import FolderParser, SeparatedParser, moving_bar, record_from_flags, run_main
from dvmap_jax.records import to_mapping
from dvmap_jax.survey.archetypes import LABELS, RULES, RuleConfig
from dvmap_jax.survey.benchmark import BenchmarkConfig
from dvmap_jax.survey.build import COMPARISON, PAGE, BuildConfig, build_corpus, file_hash
from dvmap_jax.survey.codebook import RELEASED_QUESTIONS, read_codebook, wave7
from dvmap_jax.survey.compare import comparison_lines
from dvmap_jax.survey.corpus import SYNTHETIC
from dvmap_jax.survey.respondents import ReadConfig
from dvmap_jax.survey.synthetic import planted_by_question
from dvmap_jax.survey.synthetic_survey import write_synthetic_survey
from dvmap_jax.survey.waves import joined_codebook, read_surveys

SURVEY = flags.DEFINE_list("survey", None, "The survey's files.", required=True)
OUTPUT = flags.DEFINE(FolderParser(), "output", None, "Folder of the corpus.", required=True)
CODEBOOK = flags.DEFINE_list("codebook", [], "Codebooks, one or one a file; default wave 7's.")
COMPARE = flags.DEFINE_string("compare", "", "An older corpus: says what moved since then.")
QUESTION_IDS = flags.DEFINE_list("questions", [], "Question ids, or all; default the released 16.")
RESPONDENTS = flags.DEFINE_integer("respondents", 20_000, "Of the synthetic survey.")

# Fields of ReadConfig, RuleConfig and BenchmarkConfig, whose docstrings say more.
flags.DEFINE(SeparatedParser(";"), "countries", [], "Only these countries.")
flags.DEFINE(SeparatedParser(",", int), "waves", [], "Only these waves.")
flags.DEFINE_string("as_of", "", "Only interviews by then: YYYY, YYYY-MM or YYYY-MM-DD.")
flags.DEFINE_alias("as-of", "as_of")
flags.DEFINE_enum("unknown", "error", ("error", "missing"), "What unknown codes are.")
flags.DEFINE_enum("rule", "released", RULES, "How answers and cells are chosen.")
flags.DEFINE_enum("labels", "mode", LABELS, "Labels by mode, or shares of all options beside it.")
flags.DEFINE_list("attributes", [], "Group by these attributes alone.")
flags.DEFINE_integer("min_support", 2, "Respondents a consensus needs.")
flags.DEFINE_float("max_entropy", 0.5, "Entropy a consensus may have; 0 is unanimity.")
flags.DEFINE_bool("weighted", False, "Count respondents by their survey weights.")
PROMPTS = flags.DEFINE_bool("prompts", True, "Keep prompts in the splits: large for all questions.")
flags.DEFINE_integer("train", 0, "Training archetypes a country; 0 means the rest.")
for split in ("dev", "test", "cross_demographic"):
    flags.DEFINE_float(split, 0.1, "Share or number of archetypes a country.")
flags.DEFINE(SeparatedParser(";"), "heldout_countries", [], "Default a share of them.")
flags.DEFINE_list("heldout_questions", [], "Question ids; default a share of them.")
flags.DEFINE_float("country_share", 0.2, "Of the countries, where none is named.")
flags.DEFINE_float("question_share", 0.125, "Of the questions, where none is named.")
flags.DEFINE_integer("seed", 0, "Of the splits, and of the synthetic survey.")


def main() -> None:
    """Reads, builds, and prints how many examples are where."""
    output, invented = OUTPUT.value, SURVEY.value == [SYNTHETIC]
    paths = [pathlib.Path(name) for name in SURVEY.value]
    if invented:
        people = {"num_respondents": RESPONDENTS.value, "seed": flags.FLAGS.seed}
        paths = [write_synthetic_survey(output.with_name(f"{output.name}_survey"), **people)]
    codebooks = [read_codebook(pathlib.Path(name)) for name in CODEBOOK.value] or [wave7()]
    config = BuildConfig(*map(record_from_flags, (RuleConfig, BenchmarkConfig)), PROMPTS.value)
    choice = record_from_flags(ReadConfig)
    with moving_bar("reading", "B") as progress:
        questions = chosen_questions(joined_codebook(codebooks))
        respondents = read_surveys(
            paths, codebooks, questions=questions, config=choice, progress=progress
        )
    sources = [{"file": path.name, "sha256": file_hash(path)} for path in paths]
    planted = planted_by_question if invented and not config.rule.attributes else None
    old = pathlib.Path(COMPARE.value) if COMPARE.value else None
    with moving_bar("building", "question") as progress:
        built = build_corpus(
            respondents,
            output,
            config,
            source={"files": sources, "choice": to_mapping(choice)},
            planted=planted,
            compare_with=old,
            progress=progress,
        )
    print(f"{built['num_respondents']} respondents, {built['num_archetypes']} archetypes")
    for name, count in built["num_examples"].items():
        print(f"{name:18} {count:9} examples")
    if old:
        print(*comparison_lines(json.loads((output / COMPARISON).read_text())), sep="\n")
    print(f"audit: {output / PAGE}")


def chosen_questions(codebook) -> list[str]:
    """The ids the flags name: all, some, or the released ones that the codebook has."""
    known = [question.id for question in codebook.questions]
    if QUESTION_IDS.value == ["all"]:
        return known
    return QUESTION_IDS.value or [name for name in known if name in RELEASED_QUESTIONS]


if __name__ == "__main__":
    run_main(main)
