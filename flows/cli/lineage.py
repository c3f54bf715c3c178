"""Prints the lineage of an artifact: its settings, its inputs and the versions that made it, up to the prompts."""

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from infra.manifest import Manifest
from infra.store import Store


def show_lineage(console: Console, manifest: Manifest, store: Store) -> None:
    console.print(branch(manifest, store, set()))


def branch(manifest: Manifest, store: Store, seen: set[str]) -> Tree:
    """A tree of an artifact and its inputs. An artifact that appears again is shown by its address only."""
    head = f"[bold]{escape(manifest.label)}[/]  [dim]{manifest.stage}/{manifest.fingerprint[:12]}[/]"
    if manifest.fingerprint in seen:
        return Tree(f"{head} [dim](above)[/]")
    seen.add(manifest.fingerprint)
    tree = Tree(head)
    for line in facts(manifest):
        tree.add(f"[dim]{line}[/]", style="")
    for name, references in manifest.inputs.items():
        for reference in references:
            upstream = store.manifest(reference.stage, reference.fingerprint)
            if upstream is None:
                tree.add(
                    f"{escape(name)}: {reference.stage}/{reference.fingerprint[:12]} [red]is not in the store any more[/]"
                )
            else:
                tree.add(branch(upstream, store, seen))
    return tree


def facts(manifest: Manifest) -> list[str]:
    counts = ", ".join(
        f"{name.replace('_', ' ')} {value:,}" if isinstance(value, int) else f"{name.replace('_', ' ')} {value}"
        for name, value in manifest.counts.items()
    )
    made = manifest.provenance
    versions = ", ".join(f"{name} {made[name]}" for name in ("python", "torch", "transformers", "trl") if name in made)
    settings = ", ".join(f"{name}={value!r:.60}" for name, value in manifest.what.items())
    return [
        escape(line)
        for line in (
            f"made {manifest.started} in {manifest.seconds:.1f} s",
            f"by version {manifest.version} of the stage, at commit {manifest.commit}",
            f"with {versions} on {made.get('machine')}, {made.get('cores')} cores",
            f"settings {settings}",
            f"counts {counts}",
            f"content {manifest.content[:12]}, {len(manifest.files)} files",
        )
        if line
    ]
