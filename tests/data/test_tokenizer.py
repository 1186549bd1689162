import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from ablate.data.tokenizer import CLOSE_FENCE, EOS, OPEN_FENCE, USER, VOCABULARY, character_tokenizer, load_tokenizer
from ablate.errors import UserError

TOKENIZER = character_tokenizer()
KNOWN = string.digits + string.ascii_letters + string.punctuation + " \n\t"


def encode(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@given(st.text(alphabet=KNOWN, max_size=60))
def test_text_survives_its_tokens(text):
    assert TOKENIZER.decode(encode(TOKENIZER, text)) == text


@given(st.text(alphabet=KNOWN.replace("`", ""), max_size=60))
def test_a_character_is_a_token(text):
    assert len(encode(TOKENIZER, text)) == len(text)


def test_a_fence_is_one_token_and_starts_a_line():
    ids = encode(TOKENIZER, f"so {OPEN_FENCE}print(1){CLOSE_FENCE}{EOS}")
    tokens = TOKENIZER.convert_ids_to_tokens(ids)
    assert tokens == ["s", "o", " ", "\n```python\n", *"print(1)", "\n```", "<|im_end|>"]


def test_special_tokens_are_left_out_of_a_decoded_answer_and_fences_are_not():
    ids = encode(TOKENIZER, f"{OPEN_FENCE}x{CLOSE_FENCE}{EOS}")
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == "\n```python\nx\n```"


def test_the_vocabulary_splits_over_tensor_ranks_without_padding():
    assert len(TOKENIZER) == len(VOCABULARY) == len(set(VOCABULARY))
    assert len(VOCABULARY) % 8 == 0


def test_the_saved_tokenizer_is_the_same_for_transformers(tmp_path):
    TOKENIZER.save_pretrained(tmp_path)
    for loaded in (AutoTokenizer.from_pretrained(tmp_path), load_tokenizer(tmp_path)):
        text = f"Read a b. é{OPEN_FENCE}a,b=0{CLOSE_FENCE}{EOS}"
        assert encode(loaded, text) == encode(TOKENIZER, text)
        assert (loaded.eos_token, loaded.pad_token) == (TOKENIZER.eos_token, TOKENIZER.pad_token)
        assert loaded.eos_token_id != loaded.pad_token_id


def test_the_chat_template_marks_the_user_and_ends_the_answer():
    messages = [{"role": "user", "content": "Print 1."}]
    prompt = TOKENIZER.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt == f"{USER}Print 1.\n"
    answered = [*messages, {"role": "assistant", "content": "print(1)"}]
    assert TOKENIZER.apply_chat_template(answered, tokenize=False) == f"{prompt}print(1){EOS}"


def test_a_directory_without_a_usable_tokenizer_is_the_users_error(tmp_path):
    with pytest.raises(UserError, match=r"model\.path"):
        load_tokenizer(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no tokenizer"):
        load_tokenizer(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="chat template"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_without_an_end_of_sequence_token_is_the_users_error(tmp_path):
    TOKENIZER.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["eos_token"]
    path.write_text(json.dumps(settings))
    with pytest.raises(UserError, match="eos_token"):
        load_tokenizer(tmp_path)
