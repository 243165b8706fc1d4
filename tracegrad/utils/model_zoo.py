"""torch.utils.model_zoo: older names of torch.hub's, and a progress bar."""

from __future__ import annotations

from ..hub import load_state_dict_from_url as load_url, tqdm

__all__ = ["load_url", "tqdm"]
