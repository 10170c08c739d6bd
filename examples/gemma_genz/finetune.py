"""Teach Gemma 3 to answer in Gen Z slang: 30 prompt/response pairs, one decorator, one TPU chip."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import launcher

TURN = "<start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n"  # how Gemma 3 marks whose turn it is
UNSEEN_PROMPTS = [
    "What is the capital of Japan?",
    "How many legs does a spider have?",
    "Which planet is closest to the Sun?",
    "Why do leaves turn red in autumn?",
    "Who wrote Hamlet?",
    "At what temperature does water freeze?",
    "What do pandas eat?",
    "Why does ice float on water?",
]


def toy_gemma3(texts: list[str]) -> Any:
    """A small untrained Gemma 3 of the real classes, with a tokenizer learnt from ``texts``: no download."""
    import io

    import keras_hub
    import sentencepiece

    proto = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=proto, model_type="bpe", vocab_size=600,
        hard_vocab_limit=False, character_coverage=1.0,
        remove_extra_whitespaces=False, add_dummy_prefix=False, minloglevel=2,
        pad_id=0, eos_id=1, bos_id=2, unk_id=3,
        pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>", unk_piece="<unk>",
        user_defined_symbols="<start_of_turn>,<end_of_turn>,<start_of_image>,<end_of_image>,<img>,\n",
    )  # fmt: skip
    tokenizer = keras_hub.models.Gemma3Tokenizer(proto=proto.getvalue())
    backbone = keras_hub.models.Gemma3Backbone(
        vocabulary_size=tokenizer.vocabulary_size(), image_size=16, num_layers=2, num_query_heads=4,
        num_key_value_heads=1, hidden_dim=128, intermediate_dim=256, head_dim=32,
    )  # fmt: skip
    preprocessor = keras_hub.models.Gemma3CausalLMPreprocessor(tokenizer)
    return keras_hub.models.Gemma3CausalLM(backbone=backbone, preprocessor=preprocessor)


@launcher.run(accelerator="v5litepod-1", env={"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"})
def finetune(pairs: list[dict[str, str]], unseen: list[str], preset: str | None, epochs: int) -> dict[str, Any]:
    """Train on ``pairs``; return each epoch's loss, all answers before and after, and seconds per step."""
    seconds: dict[str, float] = {}
    start = time.perf_counter()

    def lap(step: str) -> None:
        seconds[step] = time.perf_counter() - start - sum(seconds.values())
        print(f"{step}: {seconds[step]:.1f} s", flush=True)

    import jax
    import keras
    import keras_hub

    lap("import")
    keras.utils.set_random_seed(0)
    questions = [pair["prompt"] for pair in pairs] + unseen
    prompts = [TURN.format(question) for question in questions]
    wanted = [pair["response"] for pair in pairs]
    if preset:
        model = keras_hub.models.Gemma3CausalLM.from_preset(preset, dtype="bfloat16")
        model.backbone.enable_lora(rank=8)
    else:
        model = toy_gemma3([prompt + answer for prompt, answer in zip(prompts, wanted, strict=False)])
    model.preprocessor.sequence_length = 96  # tokens of a prompt and its answer
    model.compile(
        optimizer=keras.optimizers.AdamW(5e-4 if preset else 3e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(True, reduction="mean_with_sample_weight"),
        sampler="greedy",
    )
    lap("load model")
    before = model.generate(prompts, strip_prompt=True)
    lap("first generate")

    def report(epoch: int, logs: dict[str, float]) -> None:
        if epoch == 0 or (epoch + 1) % 5 == 0:
            print(f"epoch {epoch + 1}/{epochs}: loss {logs['loss']:.4f}", flush=True)

    history = model.fit(
        {"prompts": prompts[: len(pairs)], "responses": wanted}, epochs=epochs, batch_size=10, shuffle=False,
        verbose=0, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=report)],
    )  # fmt: skip
    lap("fit")
    after = model.generate(prompts, strip_prompt=True)
    lap("generate")
    columns = zip(questions, before, after, wanted + [None] * len(unseen), strict=True)
    return {
        "model": preset or "toy",
        "parameters": model.count_params(),
        "device": jax.devices()[0].device_kind,
        "losses": history.history["loss"],
        "answers": [dict(zip(("prompt", "before", "after", "wanted"), row, strict=True)) for row in columns],
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", help="a pretrained Gemma 3, such as gemma3_1b; default: a toy")
    parser.add_argument("--accelerator", help="such as v5litepod-1 (the default) or v6e-1")
    parser.add_argument("--spot", action="store_true", help="cheaper; may be taken away")
    parser.add_argument("--zone", help="such as us-west4-a")
    parser.add_argument("--epochs", type=int, help="default: 40 for the toy, 20 for a preset")
    parser.add_argument("--local", action="store_true", help="run here (install requirements.txt)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything to FILE")
    args = parser.parse_args()
    options = {name: value for name in ("accelerator", "spot", "zone") if (value := getattr(args, name))}
    if args.preset:
        options["capture_env_vars"] = ["KAGGLE_*"]
        if not args.local and not any(name.startswith("KAGGLE_") for name in os.environ):
            parser.error("--preset downloads from Kaggle: set KAGGLE_USERNAME and KAGGLE_KEY (see README.md)")
    lines = (Path(__file__).parent / "data.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [json.loads(line) for line in lines]
    inputs = (pairs, UNSEEN_PROMPTS, args.preset, args.epochs or (20 if args.preset else 40))
    timeline: dict[str, float] = {}
    if args.local:
        os.environ.setdefault("KERAS_BACKEND", "jax")
        result = finetune.local(*inputs)
    else:
        result = finetune.with_options(**options)(*inputs)
        timeline = launcher.jobs(limit=1)[0].timeline()
    from show import show

    show(result, timeline)
    if args.json:
        args.json.write_text(json.dumps({**result, "timeline": timeline}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
