"""Checkpoints are whole or absent; the newest whole one is used, and resuming repeats the unbroken run bit for bit."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import cases
import pytest
import torch
from fused_adam_double import use_fused_adam

from ablate.errors import UserError
from ablate.trainer.batching import make_batch
from ablate.trainer.checkpoint import integrity, writing
from ablate.trainer.checkpoint.directory import fingerprints
from ablate.trainer.checkpoint.integrity import fingerprint
from ablate.trainer.model.layers import RMSNorm
from ablate.trainer.trainer import Trainer

EXTRA = {"step": 3, "scores": {0: 0.25, 3: 0.5}, "sampler": {"order": [3, 1, 2]}, "rng": torch.arange(4)}


@pytest.fixture(scope="module")
def batch(tiny_checkpoint):
    objective = cases.objective_named("gspo")
    trainer = cases.open_trainer(tiny_checkpoint, cases.SINGLE)
    return cases.off_policy_batch(objective, trainer.logp(make_batch(cases.rollout_groups(), objective))[0])


@pytest.fixture
def trainer(tiny_checkpoint):
    return cases.open_trainer(tiny_checkpoint, cases.SINGLE)


def train(trainer: Trainer, batch, num_steps: int) -> list[dict[str, float]]:
    return [trainer.update(batch, cases.objective_named("gspo")) for _ in range(num_steps)]


def save(trainer: Trainer, root: Path, *steps: int, keep: int = 5, **kept: Any) -> None:
    for step in steps:
        trainer.checkpoints.save(root, step, EXTRA | {"step": step}, keep=keep, **{"best": None} | kept)


def never(sentence: str) -> None:
    pytest.fail(sentence)


@pytest.mark.parametrize("distributed", [False, True], ids=["plain", "distributed"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["at_once", "asynchronous"])
def test_resuming_repeats_the_unbroken_run_bit_for_bit(tiny_checkpoint, tmp_path, batch, distributed, asynchronous):
    parallel = replace(cases.SINGLE, distributed_optimizer=distributed)
    unbroken = cases.open_trainer(tiny_checkpoint, parallel)
    train(unbroken, batch, 3)
    unbroken.checkpoints.save(tmp_path, 3, EXTRA, keep=1, best=None, asynchronous=asynchronous)
    expected = train(unbroken, batch, 3)  # an asynchronous save must not see these
    unbroken.checkpoints.finish_save()
    resumed = cases.open_trainer(tiny_checkpoint, parallel)
    extra = resumed.checkpoints.load_newest(tmp_path, never)
    assert extra["scores"] == EXTRA["scores"]
    assert torch.equal(extra["rng"], EXTRA["rng"])
    assert train(resumed, batch, 3) == expected
    weights = cases.gathered(unbroken)
    assert all(torch.equal(weights[name], tensor) for name, tensor in cases.gathered(resumed).items())


def test_bf16_resumes_bit_for_bit_and_across_kinds_of_optimizer(tiny_checkpoint, tmp_path, batch):
    plain = replace(cases.SINGLE, precision="bf16")
    split = replace(plain, distributed_optimizer=True)
    for writer, reader in ((plain, plain), (plain, split), (split, plain)):
        root = tmp_path / f"{writer.distributed_optimizer}_{reader.distributed_optimizer}"
        unbroken = cases.open_trainer(tiny_checkpoint, writer)
        train(unbroken, batch, 2)
        save(unbroken, root, 2)
        train(unbroken, batch, 2)
        resumed = cases.open_trainer(tiny_checkpoint, reader)
        resumed.checkpoints.load(root, 2)
        train(resumed, batch, 2)
        weights = cases.gathered(unbroken)
        assert all(torch.equal(weights[name], tensor) for name, tensor in cases.gathered(resumed).items()), root.name


@pytest.mark.parametrize(("writer", "reader"), [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("written_by", ["torch", "transformer_engine"])
def test_transformer_engines_adam_continues_its_own_and_torchs_count_of_steps(
    tiny_checkpoint, tmp_path, batch, monkeypatch, writer, reader, written_by
):
    if written_by == "transformer_engine":
        use_fused_adam(monkeypatch)
    unbroken = cases.open_trainer(tiny_checkpoint, replace(cases.SINGLE, distributed_optimizer=writer))
    train(unbroken, batch, 2)
    save(unbroken, tmp_path, 2)
    train(unbroken, batch, 2)
    use_fused_adam(monkeypatch)
    resumed = cases.open_trainer(tiny_checkpoint, replace(cases.SINGLE, distributed_optimizer=reader))
    resumed.checkpoints.load(tmp_path, 2)
    train(resumed, batch, 2)
    weights = cases.gathered(unbroken)
    for name, tensor in cases.gathered(resumed).items():
        torch.testing.assert_close(tensor, weights[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["at_once", "asynchronous"])
def test_a_save_starts_no_process(trainer, tmp_path, batch, monkeypatch, asynchronous):
    """A writing child would outlive a killed run, and hold the lock and the sockets that it inherited."""

    def start(process: BaseProcess) -> None:
        raise AssertionError(f"a save started {process.name}")

    train(trainer, batch, 1)
    monkeypatch.setattr(BaseProcess, "start", start)
    trainer.checkpoints.save(tmp_path, 1, EXTRA, keep=1, best=None, asynchronous=asynchronous)
    trainer.checkpoints.finish_save()
    assert sorted(path.name for path in (tmp_path / "step_000001").glob("*.distcp")) == ["__0_0.distcp", "__0_1.distcp"]
    weights = cases.gathered(trainer)
    train(trainer, batch, 1)
    trainer.checkpoints.load(tmp_path, 1)
    assert all(torch.equal(weights[name], tensor) for name, tensor in cases.gathered(trainer).items())


@pytest.fixture
def writing_may_begin(monkeypatch) -> threading.Event:
    """Until this is set, a save writes no file."""
    may_begin, write_files = threading.Event(), writing.write_files

    def write_later(*arguments: Any) -> None:
        may_begin.wait(10)
        return write_files(*arguments)

    monkeypatch.setattr(writing, "write_files", write_later)
    return may_begin


def test_an_asynchronous_checkpoint_counts_as_soon_as_it_is_written(trainer, tmp_path, batch, writing_may_begin):
    train(trainer, batch, 1)
    weights = cases.gathered(trainer)
    trainer.checkpoints.save(tmp_path, 1, EXTRA, keep=1, best=None, asynchronous=True)
    trainer.checkpoints.publish_if_written()
    assert not (tmp_path / "latest").exists()
    train(trainer, batch, 1)
    writing_may_begin.set()
    while not (tmp_path / "latest").exists():
        trainer.checkpoints.publish_if_written()
    trainer.checkpoints.load(tmp_path, 1)
    assert all(torch.equal(weights[name], tensor) for name, tensor in cases.gathered(trainer).items())


@pytest.mark.parametrize("asynchronous", [False, True], ids=["at_once", "asynchronous"])
def test_a_checkpoint_is_hashed_while_it_is_written_and_not_read_back(
    trainer, tmp_path, batch, monkeypatch, asynchronous
):
    train(trainer, batch, 1)
    read = []
    monkeypatch.setattr(integrity, "fingerprint", lambda path: read.append(path.name) or fingerprint(path))
    trainer.checkpoints.save(tmp_path, 1, EXTRA, keep=1, best=None, asynchronous=asynchronous)
    trainer.checkpoints.finish_save()
    assert not [name for name in read if name.endswith(".distcp")]
    directory = tmp_path / "step_000001"
    files = integrity.read_record(directory / integrity.COMPLETE)["files"]
    assert files == {name: fingerprint(directory / name) for name in files}
    assert {"__0_0.distcp", "extra.pt", "common.pt"} <= files.keys()


def test_a_failed_run_publishes_no_checkpoint_and_writes_no_more(trainer, tmp_path, writing_may_begin):
    trainer.checkpoints.save(tmp_path, 1, EXTRA, keep=1, best=None, asynchronous=True)
    writing_may_begin.set()
    trainer.checkpoints.discard_save()
    written = fingerprints(tmp_path / "step_000001.partial", trainer.world)
    assert {"__0_0.distcp", "__0_1.distcp"} <= written.keys()
    trainer.checkpoints.finish_save()
    assert not (tmp_path / "latest").exists()


@pytest.mark.parametrize("asynchronous", [False, True], ids=["at_once", "asynchronous"])
def test_a_file_that_cannot_be_written_fails_with_its_own_error(trainer, tmp_path, monkeypatch, asynchronous):
    make_partial = Path.mkdir

    def mkdir_on_a_full_disk(path: Path, **options: Any) -> None:
        make_partial(path, **options)
        if path.suffix == ".partial" and not any(path.iterdir()):
            (path / "__0_1.distcp").symlink_to("/dev/full")

    monkeypatch.setattr(Path, "mkdir", mkdir_on_a_full_disk)
    save = partial(trainer.checkpoints.save, tmp_path, 1, EXTRA, keep=1, best=None, asynchronous=asynchronous)
    if asynchronous:
        save()
    with pytest.raises(OSError, match="No space left on device"):
        trainer.checkpoints.finish_save() if asynchronous else save()
    assert not (tmp_path / "latest").exists()


def test_layers_with_an_extra_state_load_what_layers_without_one_wrote(tiny_checkpoint, tmp_path, batch, monkeypatch):
    """Every layer of Transformer Engine has such a state."""
    unbroken = cases.open_trainer(tiny_checkpoint, cases.SINGLE)
    train(unbroken, batch, 1)
    save(unbroken, tmp_path, 1)
    for name, answer in {"get_extra_state": lambda _: torch.empty(0), "set_extra_state": lambda *_: None}.items():
        monkeypatch.setattr(RMSNorm, name, answer, raising=False)
    resumed = cases.open_trainer(tiny_checkpoint, cases.SINGLE)
    assert any(name.endswith("_extra_state") for name in resumed.model.state_dict())
    resumed.checkpoints.load(tmp_path, 1)
    assert train(resumed, batch, 1) == train(unbroken, batch, 1)


def test_nothing_to_resume_is_none(trainer, tmp_path):
    assert trainer.checkpoints.load_newest(tmp_path / "absent", never) is None


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (truncate, "bytes, "),
        (flip_a_bit, "does not hold what was written"),
        (Path.unlink, "is missing"),
    ],
    ids=["truncated", "bit_flipped", "removed"],
)
@pytest.mark.parametrize("name", ["__0_0.distcp", ".metadata", "common.pt", "extra.pt"])
def test_a_damaged_checkpoint_is_reported_and_the_one_before_is_used(trainer, tmp_path, name, damage, sentence):
    save(trainer, tmp_path, 1, 2)
    damage(tmp_path / "step_000002" / name)
    said = []
    assert trainer.checkpoints.load_newest(tmp_path, said.append)["step"] == 1
    assert len(said) == 1
    assert said[0].startswith(f"checkpoint step_000002 is skipped: {name} ")
    assert sentence in said[0]
    with pytest.raises(UserError, match="name another checkpoint"):
        trainer.checkpoints.load(tmp_path, 2)


def test_what_is_learned_later_joins_a_checkpoint_whole_or_not_at_all(trainer, tmp_path):
    save(trainer, tmp_path, 1, 2)
    for score in (0.5, 0.75):
        trainer.checkpoints.amend(tmp_path, 1, {"scores": {1: score}}, keep=1, best=1)
        extra = trainer.checkpoints.load(tmp_path, 1)
        assert (extra["scores"], extra["sampler"]) == ({1: score}, EXTRA["sampler"])
    assert (tmp_path / "best").read_text() == "step_000001"
    directory = tmp_path / "step_000001"
    for name in ("extra.pt", "amended.pt"):  # of an amendment that was killed before it counted
        if not (directory / name).exists():
            (directory / name).write_bytes(b"half")
    assert trainer.checkpoints.load(tmp_path, 1)["scores"] == {1: 0.75}
    trainer.checkpoints.amend(tmp_path, 1, {"scores": {1: 1.0}}, keep=2, best=None)
    assert trainer.checkpoints.load(tmp_path, 1)["scores"] == {1: 1.0}


@pytest.mark.parametrize("content", [None, "", '{"step": 2, "fi'])
def test_without_a_readable_record_of_its_files_a_checkpoint_is_skipped(trainer, tmp_path, content):
    save(trainer, tmp_path, 1, 2)
    record = tmp_path / "step_000002" / "complete.json"
    record.unlink() if content is None else record.write_text(content)
    said = []
    assert trainer.checkpoints.load_newest(tmp_path, said.append)["step"] == 1
    assert "complete.json is" in said[0]


def test_a_save_that_was_killed_leaves_nothing_that_counts(trainer, tmp_path):
    save(trainer, tmp_path, 1)
    leftover = tmp_path / "step_000002.partial"
    leftover.mkdir()
    (leftover / "__0_0.distcp").write_bytes(b"half")
    assert trainer.checkpoints.load_newest(tmp_path, never)["step"] == 1
    save(trainer, tmp_path, 2)
    assert trainer.checkpoints.load_newest(tmp_path, never)["step"] == 2
    assert not leftover.exists()


def test_the_newest_the_best_and_the_chosen_ones_are_kept(trainer, tmp_path):
    for step, best in ((1, 1), (2, 2), (3, 2), (4, 2), (5, 2)):
        save(trainer, tmp_path, step, keep=1, best=best, named=(3, 9))
    assert sorted(path.name for path in tmp_path.glob("step_*")) == ["step_000002", "step_000003", "step_000005"]
    assert (tmp_path / "latest").read_text() == "step_000005"
    assert (tmp_path / "best").read_text() == "step_000002"


def test_what_was_saved_last_comes_first_even_if_its_step_is_lower(trainer, tmp_path):
    """A run that fell back to step 1 and went on must not jump to a later step of an earlier attempt."""
    save(trainer, tmp_path, 1, 9, 2)
    assert trainer.checkpoints.load_newest(tmp_path, never)["step"] == 2
    save(trainer, tmp_path, 3, keep=2)
    assert trainer.checkpoints.load_newest(tmp_path, never)["step"] == 3
    assert not (tmp_path / "step_000002").exists() or (tmp_path / "step_000003").exists()


def test_saving_a_step_again_replaces_it(trainer, tmp_path, batch):
    save(trainer, tmp_path, 1)
    train(trainer, batch, 1)
    save(trainer, tmp_path, 1)
    weights = cases.gathered(trainer)
    trainer.checkpoints.load(tmp_path, 1)
    assert all(torch.equal(weights[name], tensor) for name, tensor in cases.gathered(trainer).items())
