"""The tokenizer against `tokenizers`, `transformers` and the published tokens of known texts."""

import json
import pathlib
import subprocess
import sys

import gguf
import pytest
import transformers

from dvmap_jax.data.tokenizer import Tokenizer

TEXTS = [f"Born in 19{i:02d}, {i % 4} children. <answer>Very important</answer>" for i in range(60)]
HARD = "It's  1987 — naïve e\u0301t\u00e9\n\n\t<answer>x</answer> 𝛼 don't THEY'LL 12345"
CHAT = [{"role": "system", "content": "Be."}, {"role": "user", "content": "Born 1987?"}]


@pytest.fixture(scope="session")
def smollm(smollm_file) -> Tokenizer:
    return Tokenizer.load(smollm_file)


@pytest.fixture
def qwen_folder(shared) -> pathlib.Path:
    return shared / "qwen3_tokenizer"


def write_vocabulary(path: pathlib.Path, tokenizer_json: pathlib.Path, pre: str) -> None:
    """A GGUF file without tensors that holds the vocabulary of a byte-level tokenizer.json."""
    content = json.loads(tokenizer_json.read_text(encoding="utf-8"))
    added = {token["id"]: token for token in content["added_tokens"]}
    tokens = {index: token for token, index in content["model"]["vocab"].items()}
    tokens |= {index: token["content"] for index, token in added.items()}
    kinds = [
        1 if index not in added else (3 if added[index]["special"] else 4)
        for index in sorted(tokens)
    ]
    merges = [m if isinstance(m, str) else " ".join(m) for m in content["model"]["merges"]]
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([tokens[index] for index in sorted(tokens)])
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(max(i for i, t in added.items() if t["content"] == "<|im_end|>"))
    writer.add_chat_template("{{ messages[0]['content'] }}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def test_gguf_of_qwen3_encodes_as_its_published_tokenizer(tmp_path, qwen_folder):
    write_vocabulary(tmp_path / "q.gguf", qwen_folder / "tokenizer.json", "qwen2")
    ours = Tokenizer.load(tmp_path / "q.gguf")
    theirs = transformers.AutoTokenizer.from_pretrained(qwen_folder)
    for text in (*TEXTS, HARD, "<think>a</think><|im_end|>"):
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False)
    assert ours.vocab_size == len(theirs)
    assert ours.eos_ids == (151645,)


def test_smollm_splits_digits_and_ends_turns(smollm):
    # From SmolLM2's published vocabulary: digits 0 to 9 are the tokens 32 to 41.
    assert smollm.encode("1987") == [33, 41, 40, 39]
    assert smollm.encode("<|im_start|>user\n<|im_end|>") == [1, 4093, 198, 2]
    assert (smollm.eos_ids, smollm.pad_id, smollm.vocab_size) == ((2,), 2, 49_152)
    assert smollm.render(CHAT) == (
        "<|im_start|>system\nBe.<|im_end|>\n<|im_start|>user\nBorn 1987?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_smollm_agrees_with_transformers_on_texts_without_digits(smollm, smollm_file):
    """With digits it cannot: `transformers` leaves out the split that the file asks for."""
    theirs = transformers.AutoTokenizer.from_pretrained(
        smollm_file.parent, gguf_file=smollm_file.name
    )
    for text in ("People's  naïve views —\n\n<|im_end|> 𝛼", "I don't know. They'll see\t it"):
        assert smollm.encode(text) == theirs.encode(text, add_special_tokens=False)
    assert smollm.render(CHAT) == theirs.apply_chat_template(
        CHAT, tokenize=False, add_generation_prompt=True
    )


def test_qwen3_renders_without_thinking(qwen_folder):
    tokenizer = Tokenizer.load(qwen_folder)
    assert tokenizer.render([{"role": "user", "content": "x"}]) == (
        "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    assert (tokenizer.eos_ids, tokenizer.pad_id, tokenizer.vocab_size) == (
        (151645,),
        151643,
        151669,
    )


def test_texts_come_back_and_special_tokens_are_left_out():
    tokenizer = Tokenizer.train(TEXTS, 300)
    for text in (*TEXTS, HARD):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(tokenizer.encode("a<|im_end|>")) == "a"
    assert tokenizer.encode_batch([]) == []
    assert tokenizer.encode_batch(TEXTS[:2]) == [tokenizer.encode(text) for text in TEXTS[:2]]


def test_trained_tokenizer_is_the_same_for_the_same_texts():
    made = [Tokenizer.train(TEXTS, 290) for _ in range(3)]
    assert len({tokenizer.fingerprint for tokenizer in made}) == 1
    assert made[0].vocab_size == 290
    assert made[0].fingerprint != Tokenizer.train(TEXTS, 280).fingerprint


def test_trained_tokenizer_saves_and_reloads_everywhere(tmp_path):
    tokenizer = Tokenizer.train(TEXTS, 320)
    tokenizer.save(tmp_path / "t")
    again = Tokenizer.load(tmp_path / "t")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "t")
    rendered = tokenizer.render(CHAT)
    assert again.fingerprint == tokenizer.fingerprint
    assert (again.eos_ids, again.pad_id) == (tokenizer.eos_ids, tokenizer.pad_id) == ((2, 0), 0)
    assert again.render(CHAT) == rendered
    assert again.encode(rendered) == tokenizer.encode(rendered) == theirs(rendered)["input_ids"]


def test_saved_smollm_reloads_in_transformers(tmp_path, smollm):
    smollm.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.encode(HARD, add_special_tokens=False) == smollm.encode(HARD)
    assert Tokenizer.load(tmp_path).fingerprint == smollm.fingerprint


def test_end_tokens_of_the_generation_config_come_after_the_turn_end(tmp_path):
    Tokenizer.train(TEXTS, 300).save(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [0, 2, 7]}')
    assert Tokenizer.load(tmp_path).eos_ids == (2, 0, 7)


def test_templates_get_a_fixed_date(tmp_path):
    Tokenizer.train(TEXTS, 300).save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    template = "{{ date_string if date_string is defined else strftime_now('%d %b %Y') }}"
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({**config, "chat_template": template})
    )
    assert Tokenizer.load(tmp_path).render(CHAT) == "26 Jul 2024"


def test_nothing_needs_torch(tmp_path, smollm_file):
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from dvmap_jax.data.tokenizer import Tokenizer\n"
        f"t = Tokenizer.load({str(smollm_file)!r}); t.save({str(tmp_path)!r})\n"
        f"print(Tokenizer.load({str(tmp_path)!r}).encode('1987'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[33, 41, 40, 39]"), done.stderr


def test_missing_path_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        Tokenizer.load(tmp_path / "nowhere")


def test_folder_without_a_tokenizer_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="holds no tokenizer.json"):
        Tokenizer.load(tmp_path)


def test_broken_tokenizer_is_an_error(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ValueError, match="cannot be read"):
        Tokenizer.load(tmp_path)


def test_tokenizer_without_chat_template_is_an_error(tmp_path):
    Tokenizer.train(TEXTS, 300).save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f"{tmp_path} has no chat template; .*chat_template.jinja"):
        Tokenizer.load(tmp_path).render(CHAT)


def test_unknown_pre_tokenizer_is_an_error_that_names_it(tmp_path):
    Tokenizer.train(TEXTS, 300).save(tmp_path)
    write_vocabulary(tmp_path / "q.gguf", tmp_path / "tokenizer.json", "tekken")
    with pytest.raises(ValueError, match="tokenizer.ggml.pre is 'tekken'"):
        Tokenizer.load(tmp_path / "q.gguf")


def test_file_that_is_no_gguf_is_an_error(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"GGUF, or so it says")
    with pytest.raises(ValueError, match=r"x\.gguf is not a complete GGUF file"):
        Tokenizer.load(tmp_path / "x.gguf")


def test_too_small_a_vocabulary_is_an_error():
    with pytest.raises(ValueError, match="too small"):
        Tokenizer.train(TEXTS, 100)


def test_words_kept_whole_are_one_token_each_and_come_back(tmp_path):
    trained = Tokenizer.train(TEXTS, 300, whole=("<answer>", "</answer>"))
    assert trained.vocab_size == 300
    trained.save(tmp_path)
    for tokenizer in (trained, Tokenizer.load(tmp_path)):
        ids = tokenizer.encode("Format: <answer>1</answer>")
        assert [tokenizer.decode([each]) for each in ids[-3:]] == ["<answer>", "1", "</answer>"]
        assert tokenizer.decode(ids) == "Format: <answer>1</answer>"
