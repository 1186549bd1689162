"""The tokenizer of a checkpoint, and that of the tiny model: its tokens are characters and an answer's two fences."""

from __future__ import annotations

import string
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PAD = "<|endoftext|>"  # the special tokens have Qwen's names
USER = "<|im_start|>"
EOS = "<|im_end|>"
# An answer ends in a fenced block. Its two fences cost 2 tokens of the context; as characters they would cost 15. Both
# begin with the line break that a fence needs before it, so the longest match tells "```python" from a closing fence.
OPEN_FENCE = "\n```python\n"
CLOSE_FENCE = "\n```"
CHARACTERS = "\n\t" + string.digits + string.ascii_letters + string.punctuation + " "
SPECIALS = (PAD, USER, EOS)
RESERVED = ("<|reserved_0|>", "<|reserved_1|>")  # fill the vocabulary up to 104 = 8 x 13
VOCABULARY = (*SPECIALS, *CHARACTERS, OPEN_FENCE, CLOSE_FENCE, *RESERVED)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '" + USER + "' + message['content'] + '\\n' }}"
    "{% else %}{{ message['content'] + '" + EOS + "' }}{% endif %}"
    "{% endfor %}"
)


def load_tokenizer(model_dir: str | Path) -> PreTrainedTokenizerBase:
    """Load a checkpoint's tokenizer, without any network access.

    Raises:
        UserError: when the directory holds no tokenizer, or one without a chat template or end-of-sequence token.
    """
    from transformers import AutoTokenizer

    if not Path(model_dir).is_dir():
        raise UserError(f"model directory {model_dir} does not exist: fix model.path")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(model_dir), local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{model_dir} holds no tokenizer that transformers can load: fix model.path") from error
    if tokenizer.chat_template is None:
        raise UserError(f"the tokenizer in {model_dir} has no chat template: add chat_template.jinja")
    if tokenizer.eos_token_id is None:
        raise UserError(f"the tokenizer in {model_dir} has no eos_token: set it in tokenizer_config.json")
    return tokenizer


def character_tokenizer() -> PreTrainedTokenizerBase:
    """Build the tiny model's tokenizer: 3 special tokens, 97 characters, 2 fences, 2 reserved; 104 tokens.

    104 is divisible by 8, so the vocabulary is split over tensor-parallel ranks without padding. A character outside
    the vocabulary becomes the pad token, because a model of this size could do nothing with it.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in (OPEN_FENCE, CLOSE_FENCE)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=[USER, *RESERVED],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
