"""Where a run starts: sizes, parameters and tokenizer, from files, a warm start or a seed."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence

import jax
from jax.sharding import Mesh

from dvmap_jax.config import RunConfig
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.files import whole_folder
from dvmap_jax.hf.load import CONFIG, read_config
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.processes import all_succeed
from dvmap_jax.rl.rewards import TAGS
from dvmap_jax.sharding import param_shardings
from dvmap_jax.survey.corpus import Example
from dvmap_jax.survey.prompts import gold_completion, messages
from dvmap_jax.train.checkpoints import TOKENIZER, read_checkpoint
from dvmap_jax.train.weights import RANDOM, load_model

WARM_START = "warm_start"  # the folder of the supervised run inside its run's workdir
TRAINED = "train:"  # weights.tokenizer="train:1024" makes one of 1,024 tokens
MANY_PROMPTS = 50_000  # a tokenizer learns from fewer than twice as many


@dataclasses.dataclass(frozen=True)
class Start:
    """The model a run begins with."""

    config: ModelConfig
    params: dict
    tokenizer: Tokenizer


def starting_point(
    config: RunConfig,
    workdir: pathlib.Path,
    examples: Sequence[Example],
    *,
    warm_start: pathlib.Path,
    mesh: Mesh,
    progress: Callable[[int, int], None],
) -> Start:
    """The warm start's result where there is one, else `config.weights`, else random parameters.

    Parameters are read or made where the mesh stores them: no process holds more than its own.
    The tokenizer is kept in `workdir/tokenizer` for resuming, evaluation and export. `progress` is
    told how many bytes are read, and of how many.
    """
    stored = functools.partial(stored_shardings, mesh)
    if config.warm_start_steps:
        saved = read_checkpoint(warm_start, shardings_of=stored)
        tokenizer = kept_tokenizer(workdir, lambda: Tokenizer.load(saved.tokenizer))
        return Start(saved.config, saved.params, tokenizer)
    if config.weights.source == RANDOM:
        return random_start(config, workdir, examples, mesh=mesh)
    loaded = load_model(
        config.weights.source, config.weights.param_dtype, shardings_of=stored, progress=progress
    )
    chosen = config.weights.tokenizer or loaded.tokenizer
    tokenizer = kept_tokenizer(workdir, lambda: Tokenizer.load(chosen))
    check_vocabulary(loaded.config, tokenizer)
    return Start(loaded.config, loaded.params, tokenizer)


def expected_sizes(config: RunConfig) -> ModelConfig:
    """The model's sizes without its weights: of their folder where it is there, else the config's.

    Shipped configs carry the sizes of the weights that they name.
    """
    folder = pathlib.Path(config.weights.source)
    return read_config(folder) if (folder / CONFIG).is_file() else config.model


def stored_shardings(mesh: Mesh, config: ModelConfig) -> dict:
    """Where a mesh stores the parameters of a model of these sizes."""
    model = Transformer(config)
    return param_shardings(mesh, model.abstract_params(), model.logical_axes())


def random_start(
    config: RunConfig, workdir: pathlib.Path, examples: Sequence[Example], *, mesh: Mesh
) -> Start:
    """Parameters drawn from the run's seed, of the sizes in `config.model`."""
    tokenizer = kept_tokenizer(workdir, lambda: new_tokenizer(config, examples))
    check_vocabulary(config.model, tokenizer)
    key = jax.random.fold_in(jax.random.key(config.seed), 0)  # 0: the purpose "parameters"
    model = Transformer(config.model, config.compute)
    stored = stored_shardings(mesh, config.model)
    params = model.init(key, config.weights.param_dtype, shardings=stored)
    return Start(config.model, params, tokenizer)


def new_tokenizer(config: RunConfig, examples: Sequence[Example]) -> Tokenizer:
    """The tokenizer of a model from scratch: loaded, or made from the training prompts."""
    source = config.weights.tokenizer
    if not source:
        raise ValueError(
            "weights.source is 'random' and weights.tokenizer is empty; name a tokenizer folder, "
            f"or '{TRAINED}1024' to make one of that size from the training prompts"
        )
    if not source.startswith(TRAINED):
        return Tokenizer.load(source)
    size = source.removeprefix(TRAINED)
    if not size.isdigit():
        raise ValueError(f"weights.tokenizer is {source!r}; after '{TRAINED}' comes a size")
    return Tokenizer.train(training_texts(config, examples), int(size), whole=TAGS)


def training_texts(config: RunConfig, examples: Sequence[Example]) -> list[str]:
    """Prompts and answers of the training examples, evenly spaced ones where there are many."""
    template, system_prompt = config.data.template, config.data.system_prompt
    texts = []
    for row in range(0, len(examples), max(1, len(examples) // MANY_PROMPTS)):
        example = examples[row]
        said = messages(example, template=template, system_prompt=system_prompt)
        texts += [message["content"] for message in said]
        texts.append(gold_completion(example, template=template))
    return texts


def kept_tokenizer(workdir: pathlib.Path, make) -> Tokenizer:
    """The tokenizer in `workdir`, made and put there the first time, by process 0."""
    folder = workdir / TOKENIZER

    def keep():
        if jax.process_index() == 0 and not folder.exists():
            with whole_folder(folder) as draft:
                make().save(draft)

    all_succeed(keep)
    return Tokenizer.load(folder)


def check_vocabulary(model: ModelConfig, tokenizer: Tokenizer) -> None:
    """Raises ValueError where the tokenizer has ids the model's table lacks."""
    if tokenizer.vocab_size > model.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model {model.vocab_size}; they "
            "do not belong together (weights.tokenizer, model.vocab_size)"
        )


def warm_start_config(config: RunConfig) -> RunConfig:
    """The supervised run that comes first: the same data and model, its own rate and batch."""
    steps, data = config.warm_start_steps, config.data
    return dataclasses.replace(
        config,
        objective=config.warm_start_objective,
        num_steps=steps,
        warm_start_steps=0,
        export=False,
        data=dataclasses.replace(
            data,
            batch_size=config.warm_start_batch_size,
            questions=config.warm_start_questions or data.questions,
        ),
        grpo=dataclasses.replace(config.grpo, updates_per_rollout=1),
        optimizer=dataclasses.replace(
            config.optimizer,
            learning_rate=config.warm_start_learning_rate,
            schedule=config.warm_start_schedule,
            decay_steps=steps,
            warmup_steps=min(config.optimizer.warmup_steps, steps - 1),
        ),
    )
