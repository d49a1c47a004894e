"""Collectives read off a compiled program: kinds, bytes, and loops that repeat them."""

from dvmap_jax.train.collectives import Collective, collectives, shapes

PROGRAM = """HloModule jit_f, entry_computation_layout={(f32[8,4]{1,0})->f32[8,4]{1,0}}

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%piece.sunk (p: bf16[2,4]) -> bf16[8,4] {
  ROOT %all-gather.9 = bf16[8,4]{1,0:T(8,128)} all-gather(bf16[2,4] %p), channel_id=3, dimensions={0}
}

%inner_body (s: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %g = bf16[8,4]{1,0} fusion(%q), kind=kLoop, calls=%piece.sunk
  ROOT %t = (s32[], f32[8,4]) tuple(%i, %x)
}

%inner_condition (s: (s32[], f32[8,4])) -> pred[] {
  %limit = s32[]{:T(128)} constant(5)
  ROOT %less = pred[] compare(%i, %limit), direction=LT
}

%body (s: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %all-gather.1 = bf16[8,4]{1,0} all-gather(bf16[2,4] %p), channel_id=3, dimensions={0}
  %reduced = (f32[8,4]{1,0}, f32[2]{0}) all-reduce(f32[8,4] %x, f32[2] %y), channel_id=4, to_apply=%add
  %w = (s32[], f32[8,4]) while((s32[], f32[8,4]) %c), condition=%inner_condition, body=%inner_body
  ROOT %t = (s32[], f32[8,4]) tuple(%i, %reduced)
}

%condition (s: (s32[], f32[8,4])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

%all-reduce-scatter.2 (p: f32[8,4]) -> f32[2,4] {
  %whole = f32[8,4]{1,0} all-reduce(f32[8,4] %p), channel_id=5, to_apply=%add
  ROOT %part = f32[2,4]{1,0} dynamic-slice(%whole, %i, %j), dynamic_slice_sizes={2,4}
}

ENTRY %main (x: f32[8,4]) -> f32[8,4] {
  %w = (s32[], f32[8,4]) while(%c), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"7"}}
  %scattered = f32[2,4]{1,0} fusion(%x), kind=kCustom, calls=%all-reduce-scatter.2
  ROOT %moved = f32[8,4]{1,0} collective-permute(f32[8,4]{1,0} %x), source_target_pairs={{0,1},{1,0}}
}
"""  # noqa: E501  as compilers print it


def test_what_stands_in_a_loop_counts_as_often_as_it_runs():
    assert set(collectives(PROGRAM)) == {
        # Its pieces in the inner loop are the same gather, under the same channel.
        Collective("all-gather", "bf16[8,4]", 7, 2 * 32),
        Collective("all-reduce", "f32[8,4]", 7, 2 * 4 * (32 + 2)),
        Collective("reduce-scatter", "f32[8,4]", 1, 4 * 32),
        Collective("collective-permute", "f32[8,4]", 1, 4 * 32),
    }


def test_the_largest_traffic_comes_first():
    sent = [one.times * one.num_bytes for one in collectives(PROGRAM)]
    assert sent == sorted(sent, reverse=True) and sent[0] == 7 * 2 * 4 * 34


def test_a_loop_without_a_number_runs_as_its_condition_says():
    plain = PROGRAM.replace('"known_trip_count":{"n":"7"}', "")
    plain = plain.replace("  ROOT %less = pred[] compare(%i, %n)", "  %n = s32[] constant(11)")
    assert {one.times for one in collectives(plain)} == {11, 1}


def test_every_array_of_a_text_has_a_type_and_sizes():
    assert {("f32", (8, 4)), ("bf16", (2, 4)), ("s32", ()), ("pred", ())} <= shapes(PROGRAM)
