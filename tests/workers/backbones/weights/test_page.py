"""The page about weights says what the catalogue says."""

from pathlib import Path

from api_schemas.weights import WeightsEntry, size_text, weights_catalogue

PAGE = (Path(__file__).parents[4] / "docs/weights.md").read_text(encoding="utf-8")


def row(name: str, entry: WeightsEntry) -> str:
    checksum = "pinned" if all(file.sha256 for file in entry.files) else "the hub's"
    source = f"[{entry.hub}](https://huggingface.co/{entry.hub})"
    return f"| `{name}` | {size_text(entry.bytes)} | {entry.license} | {source} | {checksum} |"


def test_the_table_of_weights_is_the_catalogue() -> None:
    head = "| weights | size | license | source | checksum |\n| --- | --- | --- | --- | --- |\n"
    table = PAGE.partition(head)[2].partition("\n\n")[0].splitlines()
    assert table == [row(name, entry) for name, entry in weights_catalogue().items()]


def test_every_license_is_linked() -> None:
    assert all(f"[{entry.license}](https://" in PAGE.replace("\n", " ") for entry in weights_catalogue().values())
