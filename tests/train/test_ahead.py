"""What a run compiles: everything before it is called, once, and nothing after the first step."""

import collections
import dataclasses
import itertools
import logging
import threading

import jax
import jax.numpy as jnp
import pytest
from run_configs import TINY_RUN

from dvmap_jax.data.batches import PromptStream
from dvmap_jax.evaluation.evaluator import Evaluator
from dvmap_jax.train.ahead import COMPILED, THREADS, Ahead, use_compilation_cache
from dvmap_jax.train.costs import Work
from dvmap_jax.train.programs import Program
from dvmap_jax.train.trainer import train

OURS = ("jit(run)", "jit(score_options)", "jit(score)", "jit(_update)")
# Drawing for training and for evaluation; whatever takes completions also takes them packed.
SEVEN = [*["jit(_update)"] * 2, *["jit(run)"] * 2, *["jit(score)"] * 2, "jit(score_options)"]


@pytest.fixture
def events(monkeypatch):
    """What happens, in order: compilations by name, batches taken ("step"), evaluations.

    A compilation ahead, which nothing waits for, stands under "ahead" and its name.
    """
    found = []

    def marked(owner, name, mark):
        method = getattr(owner, name)

        def call(*args, **kwargs):
            found.append(mark)
            return method(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    def compiled(event, seconds, **said):
        if event == COMPILED:
            ahead = threading.current_thread().name.startswith(THREADS)
            found.append("ahead " * ahead + said["fun_name"])

    marked(PromptStream, "__next__", "step")
    marked(Evaluator, "__call__", "evaluation")
    jax.monitoring.register_event_duration_secs_listener(compiled)
    yield found
    jax.monitoring.unregister_event_duration_listener(compiled)


def after(events, mark, count):
    """The compilations that came after the mark had been passed `count` times."""
    places = [place for place, event in enumerate(events) if event == mark]
    return [event for event in events[places[count - 1] :] if event.startswith("jit")]


def test_nothing_compiles_after_the_first_step_and_the_first_evaluation(events, tmp_path):
    train(TINY_RUN, tmp_path)
    assert events.count("step") == 5 and events.count("evaluation") == 2 * 4
    compiled = [event.removeprefix("ahead ") for event in events]
    found = collections.Counter(name for name in compiled if name in OURS)
    # Each program once; one that nothing waited for may be left when the run ends.
    assert found <= collections.Counter(SEVEN) and set(found) == set(SEVEN)
    assert after(events, "step", 2) == []


def test_a_size_that_varies_is_seen_as_a_compilation(events, tmp_path, monkeypatch):
    sizes = itertools.cycle([(0, 256), (0, 384)])
    batch = PromptStream._batch

    def varying(self, units, epochs):
        self._sizes = next(sizes)
        return batch(self, units, epochs)

    monkeypatch.setattr(PromptStream, "_batch", varying)
    evaluation = dataclasses.replace(TINY_RUN.evaluation, modes=("score",))
    train(dataclasses.replace(TINY_RUN, num_steps=3, evaluation=evaluation), tmp_path)
    assert "jit(_update)" in after(events, "step", 2)


def program(name, size):
    function = jax.jit(lambda x: jnp.sin(x @ x))
    return Program(
        name, function, (jax.ShapeDtypeStruct((size, size), jnp.float32),), None, Work(0, 0), True
    )


def test_a_shape_that_was_not_foreseen_compiles_with_a_warning(events, caplog):
    known = program("known", 3)
    waited = []
    with Ahead([known], waited.append) as ahead:
        ahead.wait("known", "one that there is not")
        known.function(jnp.ones((3, 3)))
        with caplog.at_level(logging.WARNING):
            assert events == ["ahead jit(<lambda>)", *events[1:]] and not caplog.records
            known.function(jnp.ones((4, 4)))
    assert events.count("jit(<lambda>)") == 1 and "not foreseen" in caplog.text
    assert waited[0] == "compiling known"


def test_the_cache_of_compilations_is_where_the_config_says(monkeypatch, tmp_path):
    before = jax.config.jax_compilation_cache_dir
    try:
        use_compilation_cache("auto")  # these tests have the variable set, and empty
        assert jax.config.jax_compilation_cache_dir == before
        use_compilation_cache(str(tmp_path))
        assert jax.config.jax_compilation_cache_dir == str(tmp_path)
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
        monkeypatch.setenv("HOME", str(tmp_path))
        use_compilation_cache("auto")
        assert jax.config.jax_compilation_cache_dir == f"{tmp_path}/.cache/dvmap_jax/compilation"
        use_compilation_cache("off")
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
