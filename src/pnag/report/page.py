"""placeholder"""
from pathlib import Path
from typing import Any
def write_report(path: Path, metrics: dict[str, Any]) -> str:
    return "<html></html>"
