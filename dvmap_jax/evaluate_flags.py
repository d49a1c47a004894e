"""The command line of an evaluation: flags in, records of how examples are answered out."""

import functools
import json
from collections.abc import Mapping
from typing import Any

from absl import flags

from dvmap_jax.command import FolderParser, define_fields, record_from_flags, values_from_flags
from dvmap_jax.data.batches import DataConfig
from dvmap_jax.evaluation.calls import CallConfig
from dvmap_jax.evaluation.comparison import BASELINE
from dvmap_jax.evaluation.endpoint import EndpointConfig, endpoint_parts, is_endpoint
from dvmap_jax.evaluation.evaluator import MODES, EvaluationConfig
from dvmap_jax.evaluation.probes import check_template
from dvmap_jax.evaluation.variants import ProbesConfig
from dvmap_jax.paths import as_path

MODEL = flags.DEFINE_string(
    "model", None, "Folder, GGUF file, baseline:NAME or URL#NAME.", required=True
)
BENCHMARK = flags.DEFINE_string("benchmark", None, "File or corpus folder.", required=True)
OUTPUT = flags.DEFINE(FolderParser(), "output", None, "Folder for the results.", required=True)
MODE = flags.DEFINE_enum("mode", None, MODES, "Default: score, of an endpoint generate.")
TRAIN = flags.DEFINE_string("train", "", "Examples the baselines are fitted on.")
BASELINES = flags.DEFINE_list("baselines", None, "Those that stand beside; default: all there are.")
MAX_EXAMPLES = flags.DEFINE_integer("max_examples", 0, "Examples of a benchmark; 0 means all.")
STEP = flags.DEFINE_string("step", "best", "Of a run: best, latest or a number.")
DTYPE = flags.DEFINE_string("dtype", "float32", "Precision of the computation.")
SEED = flags.DEFINE_integer("seed", None, "Of the draws; an endpoint is sent one where given.")
PROBES = flags.DEFINE_bool("probes", False, "Ask again: are demographics used, are answers robust?")
PROBE_ROWS = flags.DEFINE_integer(
    "probe_rows", ProbesConfig.max_rows, "Rows of a benchmark to ask again, 0: all."
)

# Fields of these, whose docstrings say more.
PROMPT = ("template", "system_prompt", "max_prompt_length")
LOADED = ("normalize", "batch_size")
DRAWN = ("samples", "temperature", "max_tokens")  # by a loaded model and by an endpoint alike
REACHED = ("choices_per_call", "top_logprobs", "extra")
define_fields(DataConfig, *PROMPT)
define_fields(EvaluationConfig, *LOADED, *DRAWN)
define_fields(EndpointConfig, *REACHED)
define_fields(CallConfig)


def mode() -> str:
    """How the model answers; ValueError where an endpoint is to score options."""
    if not is_endpoint(MODEL.value):
        return MODE.value or "score"
    if MODE.value == "score":
        raise ValueError("--mode=score needs the model here; an endpoint only generates")
    return "generate"


@functools.cache  # a workdir's file is read once
def data_config() -> DataConfig:
    """How examples become prompts: as flags say, else as in the run whose workdir is evaluated."""
    found, trained = flags.FLAGS, _run_of(MODEL.value).get("data", {})
    known = {name: trained[name] for name in PROMPT if name in trained}
    asked = values_from_flags(*(name for name in PROMPT if found[name].present))
    return DataConfig(**known | asked)


def _run_of(model: str) -> Mapping[str, Any]:
    """The config of a run, empty where the model is no workdir of one."""
    if is_endpoint(model) or model.startswith(BASELINE):
        return {}
    file = as_path(model) / "config.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # whoever loads the model says what is wrong with it
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("data"), dict) else {}


def evaluation_config() -> EvaluationConfig:
    """How a model that is loaded here answers."""
    return EvaluationConfig(
        modes=(mode(),),
        max_examples=MAX_EXAMPLES.value,
        max_generated=MAX_EXAMPLES.value,
        seed=SEED.value or 0,
        **values_from_flags(*LOADED, *DRAWN),
    )


def endpoint_config() -> EndpointConfig:
    """How the endpoint that --model names is asked."""
    url, name = endpoint_parts(MODEL.value)
    return EndpointConfig(
        url=url,
        model=name,
        seed=SEED.value,
        calls=record_from_flags(CallConfig),
        **values_from_flags(*DRAWN, *REACHED),
    )


def probes_config() -> ProbesConfig | None:
    """What is asked again, None where nothing is; ValueError where it would not show anything."""
    if not PROBES.value:
        return None
    check_template(data_config().template)
    return ProbesConfig(max_rows=PROBE_ROWS.value)
