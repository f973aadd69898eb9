"""The `transformers` flavor: a text-classification pipeline as its configuration, tokenizer and safetensors. No code is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trine.errors import InvalidInput
from trine.extras import need
from trine.models.boosted import crafted

if TYPE_CHECKING:
    from trine.models.flavors import Answers, Ask
    from trine.models.signature import Field

TASK = "text-classification"
_CODE = ("auto_map", "custom_pipelines", "trust_remote_code")
"""Entries of a configuration that name code to be fetched or run."""


class TransformersFlavor:
    """It is given one column of texts and answers the label and its probability."""

    name = "transformers"
    pickles = False
    forms: Mapping[str, str] = {
        "*.json": "json",
        "*.safetensors": "safetensors",
        "vocab.txt": "text",
        "merges.txt": "text",
    }

    def matches(self, native: Any) -> bool:
        return any(one.__module__.startswith("transformers.pipelines") for one in type(native).__mro__)

    def save(self, native: Any) -> dict[str, bytes]:
        if native.task != TASK:
            raise InvalidInput(f'The pipeline does "{native.task}"; what can be registered is "{TASK}".')
        with tempfile.TemporaryDirectory() as folder:
            native.save_pretrained(folder, safe_serialization=True)
            files = {one.name: one.read_bytes() for one in Path(folder).iterdir() if one.is_file()}
        self.check(files)
        return files

    def load(self, files: Mapping[str, bytes]) -> Any:
        transformers = need("transformers", extra="transformers", purpose="A transformers model")
        self.check(files)
        with tempfile.TemporaryDirectory() as folder:
            for name, data in files.items():
                if name.endswith((".json", ".safetensors", ".txt")):
                    (Path(folder) / Path(name).name).write_bytes(data)
            options = {"local_files_only": True, "trust_remote_code": False}
            model = transformers.AutoModelForSequenceClassification.from_pretrained(
                folder, use_safetensors=True, **options
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
        return transformers.pipeline(TASK, model=model.eval(), tokenizer=tokenizer, device="cpu")

    def check(self, files: Mapping[str, bytes]) -> None:
        for name in ("config.json", "tokenizer_config.json"):
            try:
                found = msgspec.json.decode(files.get(name, b""), type=dict[str, Any])
            except msgspec.DecodeError as error:
                raise crafted(f"{name} is missing, or no configuration ({error})") from None
            if named := [one for one in _CODE if found.get(one)]:
                raise InvalidInput(f'{name} names code of its own ("{named[0]}"), which is never loaded.')

    def classes(self, native: Any) -> tuple[Any, ...]:
        return ()

    def outputs(self, native: Any) -> tuple[Field, ...]:
        from trine.models.signature import Field

        return (Field("prediction", "string"), Field("probability", "float64"))

    def ask(self, native: Any) -> Ask:
        import numpy as np

        def answer(rows: Any) -> Answers:
            texts = rows[:, 0] if isinstance(rows, np.ndarray) else rows[rows.columns[0]].to_numpy()
            found = native([str(one) for one in texts], truncation=True)
            return {
                "prediction": np.array([one["label"] for one in found]),
                "probability": np.array([one["score"] for one in found], dtype=np.float64),
            }

        return answer

    def bare(self, native: Any) -> Any | None:
        return None

    def libraries(self) -> tuple[str, ...]:
        return ("transformers", "torch", "tokenizers", "safetensors")
