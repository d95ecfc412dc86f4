"""Goes once `image_plans` and `finetune_stage` import these names from `answer_stage`."""

from pnag.run.answer_stage import DEFAULT_BUDGETS, model_name

__all__ = ["DEFAULT_BUDGETS", "model_name"]
