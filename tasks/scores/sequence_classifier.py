"""Any sequence classifier with one logit as a reward model; its head computes in fp32."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from infra.errors import BadInput
from tasks.loading import load_model, pad_rows
from tasks.scores.conversation import Text

SAME = 1e-2  # relative tolerance: the model may compute its own logit in half precision


class OneLogit:
    """Models like Llama apply the head to the last token's state. Encoders pool differently: `ask` runs their own forward."""

    def __init__(self, folder: str | Path):
        self.model = load_model(AutoModelForSequenceClassification, folder)
        if self.model.config.num_labels != 1:
            labels = self.model.config.num_labels
            raise BadInput(f"reward.model: {folder} has {labels} labels, but a reward model has exactly 1")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = self.model.to(device).eval()  # pyright: ignore[reportArgumentType]
        self.head = head_of(self.model, folder).float()
        self.head.register_forward_pre_hook(lambda module, inputs: (inputs[0].float(),))

    @property
    def backbone(self) -> PreTrainedModel:
        return cast(PreTrainedModel, self.model.base_model)

    def read_position(self, text: Text) -> int:
        """Any position: the head uses only the last token."""
        return 0

    def columns(self, last: Tensor, at_places: Tensor) -> list[dict]:
        return [{"score": value} for value in self.head(last).squeeze(-1).tolist()]

    def reads_last(self, text: Text) -> bool:
        """Tests whether the model's own forward equals its head applied to the last token's state."""
        ids = torch.tensor([text.ids], device=self.model.device)
        config = self.model.config.get_text_config()
        # Without a padding token the forward does not skip a last token that equals it.
        padding, config.pad_token_id = config.pad_token_id, None
        own = self.model(input_ids=ids).logits.item()
        config.pad_token_id = padding
        state = self.backbone(input_ids=ids).last_hidden_state[:, -1]
        if state.shape[-1] != self.head.in_features:
            return False
        return abs(self.head(state).item() - own) <= SAME * max(1.0, abs(own))

    def ask(self, texts: Sequence[Text], padding: int | None) -> list[dict]:
        """Scores whole texts with the model's own forward."""
        batch = pad_rows([text.ids for text in texts], padding, "right")
        logits = self.model(**{name: each.to(self.model.device) for name, each in batch.items()}).logits
        return [{"score": value} for value in logits.squeeze(-1).tolist()]


def head_of(model: PreTrainedModel, folder: str | Path) -> nn.Linear:
    """The only linear layer outside the backbone with one output: `score` in Llama, `classifier` in DeBERTa."""
    inside = set(model.base_model.modules())
    outside = [module for module in model.modules() if isinstance(module, nn.Linear) and module not in inside]
    heads = [module for module in outside if module.out_features == 1]
    if len(heads) != 1:
        raise BadInput(
            f"reward.model: {folder} has {len(heads)} heads with one logit, but a reward model has exactly 1"
        )
    return heads[0]
